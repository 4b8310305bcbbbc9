"""What solvers ask for, in units of one gradient of the same samples."""

import numpy as np

from . import loops
from .training import problem

CASES = {
    "2-16-16-1 tanh, 64 rows": ((2, 16, 16, 1), "tanh", 64),
    "8-64-64-4 tanh, 256 rows": ((8, 64, 64, 4), "tanh", 256),
}


class Derivatives:
    params = (tuple(CASES), ("float64",))
    param_names = ("case", "dtype")

    def setup(self, case, dtype):
        units, activation, rows = CASES[case]
        self.net, self.x, self.y = problem(units, activation, rows, False, dtype)
        self.v = np.ones_like(self.net.params)
        jacobian = self.net.jacobian(self.x, wrt="params")
        gradient = np.einsum("nkp,nk->p", jacobian, 2 * (self.net.predict(self.x) - self.y))
        expected = self.net.loss_and_gradient(self.x, self.y)[1]
        np.testing.assert_allclose(gradient / self.y.size, expected, rtol=1e-3, atol=1e-5)

    def gradients(self, call):
        one = loops.median_seconds(lambda: self.net.loss_and_gradient(self.x, self.y))
        return loops.median_seconds(call) / one

    def track_input_jacobian(self, case, dtype):
        return self.gradients(lambda: self.net.jacobian(self.x))

    def track_parameter_jacobian(self, case, dtype):
        return self.gradients(lambda: self.net.jacobian(self.x, wrt="params"))

    def track_vjp(self, case, dtype):
        return self.gradients(lambda: self.net.vjp(self.x, self.y))

    def track_input_derivatives(self, case, dtype):
        return self.gradients(lambda: self.net.derivatives(self.x))

    def track_input_derivatives_vjp(self, case, dtype):
        slopes = self.net.derivatives(self.x)
        return self.gradients(lambda: self.net.derivatives_vjp(self.x, *slopes))

    def track_input_hessian(self, case, dtype):
        return self.gradients(lambda: self.net.hessian(self.x))

    def track_per_sample_gradients(self, case, dtype):
        return self.gradients(lambda: self.net.per_sample_gradients(self.x, self.y))

    def track_hessian_vector_product(self, case, dtype):
        return self.gradients(lambda: self.net.hessian_vector_product(self.x, self.y, self.v))

    def track_gauss_newton_vector_product(self, case, dtype):
        return self.gradients(lambda: self.net.gauss_newton_vector_product(self.x, self.y, self.v))


for name, method in list(vars(Derivatives).items()):
    if name.startswith("track_"):
        method.unit = "gradients"
