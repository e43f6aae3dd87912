// Asynchronous copies into shared memory and waiting between the blocks of a cooperative launch.
#pragma once

#include "device.cuh"

#ifndef __CUDACC__
#include "emulation/pipeline.h"
#endif
