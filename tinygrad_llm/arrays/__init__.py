"""The ground floor: NumPy's and CuPy's arrays, and the machine under the ops.

Nothing here knows of tensors. From the ground up, each storey using those below it alone:

    capture, blas, allocator     what a CUDA graph captures; BLAS's threads; memory that is kept
    devices                      the array module of an array, moves between CPU and GPU
    threads, parallel            helper threads; work on blocks of rows, on every core
    matmul, attention_blocks     matrix products on every core; how attention divides its heads
"""
