// Selection: which neurons are active, from their scores, as an ascending list with its length.
//
//   scores   │ 0.3 │ 0.9 │ -1.2 │ 0.9 │ 0.1 │  ..        one read of each, 16 bytes a request
//   chosen      0     1      0     1     0             at least the threshold, or among the k largest
//   active   │ 1 │ 3 │ ..                              each at the count of the chosen before it
//
// Before Hopper one block of 32 warps does it all (select_block.cuh); from Hopper on a cluster of eight
// blocks, whose blocks tell each other their counts (select_cluster.cuh). Either takes one launch.
//
// What a score is: zeros of either sign are equal. A NaN reaches no threshold, and nothing reaches a
// NaN threshold; for top-k NaNs are equal and below all else. The lists depend on the scores alone:
// integer sums are the same in any order.
#include "select_block.cuh"
#include "select_cluster.cuh"

// The emulation has the cluster's kernels under names of their own: emulation/kernels.cpp.
#if __CUDA_ARCH__ >= 900
extern "C" __global__ void __cluster_dims__(THRESHER_SELECT_CLUSTER_BLOCKS, 1, 1)
    __launch_bounds__(THRESHER_SELECT_CLUSTER_THREADS)
        select_threshold_f32(const __grid_constant__ SelectThresholdParams p) {
  select_cluster::threshold(p);
}

extern "C" __global__ void __cluster_dims__(THRESHER_SELECT_CLUSTER_BLOCKS, 1, 1)
    __launch_bounds__(THRESHER_SELECT_CLUSTER_THREADS)
        select_top_k_f32(const __grid_constant__ SelectTopKParams p) {
  select_cluster::top_k(p);
}
#else
extern "C" __global__ void __launch_bounds__(THRESHER_SELECT_THREADS)
    select_threshold_f32(const __grid_constant__ SelectThresholdParams p) {
  __shared__ select_block::Scratch scratch;
  select_block::threshold(p, scratch);
}

extern "C" __global__ void __launch_bounds__(THRESHER_SELECT_THREADS)
    select_top_k_f32(const __grid_constant__ SelectTopKParams p) {
  __shared__ select_block::TopKShared s;
  select_block::top_k(p, s);
}
#endif
