"""Networks from and to other libraries.

`to_onnx` writes ONNX. `to_torch`, `from_torch`, `state_dict` and `load_state_dict` exchange
networks and parameters with PyTorch, `to_sklearn` and `from_sklearn` with scikit-learn,
`get_weights` and `set_weights` with Keras. The other library is imported by the function that
needs it, when it is called.
"""

from flatprop.interchange.onnx import to_onnx

__all__ = ["to_onnx"]
