"""The matrix products of backpropagation, without BLAS."""
