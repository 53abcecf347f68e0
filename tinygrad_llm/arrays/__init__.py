"""The ground floor: NumPy's and CuPy's arrays, and the machine under the ops.

Nothing here knows of tensors. Each storey uses only those above it in this list:

    memory      the owner and the address of an array's memory
    capture     a CUDA graph during its capture, and what its replays need
    blas        the number of threads of OpenBLAS
    allocator   freed memory that is kept for the next step
    twins       the registry of faster code

    ids         checks of integers that choose rows
    threads     threads that help with a piece of work

    devices     the array module of an array, moves between devices

    availability   whether there is a GPU that works
    special     erf, Φ and the sigmoid
    indexing    adding into rows and positions that repeat
    regions     where a view lies, and views that are adjacent in one memory
    parallel    functions run over blocks of rows, on every core

    reductions  sums over rows and along them

    matmul      matrix products, on every core
    attention_blocks   how attention divides its heads, queries and keys
"""
