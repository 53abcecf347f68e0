"""The ground floor: NumPy's and CuPy's arrays, and the machine under the ops.

Nothing here knows of tensors. From the ground up, each storey uses only those below it:

    memory, capture, blas, allocator, twins   whose memory an array shows; what a CUDA graph
                                              captures; BLAS's threads; freed memory; faster code
    ids, threads                              checks of integers that choose rows; helper threads
    devices                                   the array module of an array, moves between devices
    special, indexing, regions, parallel      erf and the sigmoid; adding into repeated rows; views;
                                              work on blocks of rows, on every core
    reductions                                sums over rows and along them
    matmul, attention_blocks                  matrix products on every core; how attention divides
                                              its heads
"""
