"""Training written in plain NumPy, as one does without a library."""

import numpy as np


class NumPyNetwork:
    """The same arithmetic as `net`, from the same initial parameters.

    tanh or relu in the hidden layers; "mse" after a linear layer or
    "cross_entropy", with class indices, after a softmax.
    """

    def __init__(self, net, learning_rate, adam=False):
        self.params = net.params.copy()
        self.gradient = np.zeros_like(self.params)
        self.weights, self.biases = self._views(net, self.params)
        self.dW, self.db = self._views(net, self.gradient)
        self.hidden = net.dense[0].activation
        self.classes = net.loss_function.name == "cross_entropy"
        self.learning_rate, self.adam, self.steps = learning_rate, adam, 0
        self.m, self.v = np.zeros_like(self.params), np.zeros_like(self.params)

    @staticmethod
    def _views(net, flat):
        layers = net.layers
        return (
            [
                flat[layer["W_start"] : layer["b_start"]].reshape(layer["inputs"], -1)
                for layer in layers
            ],
            [flat[layer["b_start"] :][: layer["units"]] for layer in layers],
        )

    def activations(self, x):
        """Of every layer, x first."""
        result = [x]
        last = len(self.weights) - 1
        for l, (W, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = result[-1] @ W + b
            if l < last:
                z = np.tanh(z) if self.hidden == "tanh" else np.maximum(z, 0)
            elif self.classes:
                z = np.exp(z - z.max(axis=1, keepdims=True))
                z /= z.sum(axis=1, keepdims=True)
            result.append(z)
        return result

    def predict(self, x):
        return self.activations(x)[-1]

    def loss_and_gradient(self, x, y):
        """The loss; overwrites `gradient`."""
        a = self.activations(x)
        if self.classes:
            rows = np.arange(len(x))
            loss = -np.log(a[-1][rows, y]).mean()
            dL_dz = a[-1].copy()
            dL_dz[rows, y] -= 1
            dL_dz /= len(x)
        else:
            error = a[-1] - y
            loss = (error**2).mean()
            dL_dz = 2 * error / error.size
        for l in range(len(self.weights) - 1, -1, -1):
            self.dW[l][:] = a[l].T @ dL_dz
            self.db[l][:] = dL_dz.sum(axis=0)
            if l > 0:
                slope = 1 - a[l] ** 2 if self.hidden == "tanh" else a[l] > 0
                dL_dz = (dL_dz @ self.weights[l].T) * slope
        return loss

    def step(self, x, y):
        """One update; the loss before it."""
        loss = self.loss_and_gradient(x, y)
        g = self.gradient
        self.steps += 1
        if self.adam:
            self.m = 0.9 * self.m + 0.1 * g
            self.v = 0.999 * self.v + 0.001 * g**2
            root = np.sqrt(self.v / (1 - 0.999**self.steps)) + 1e-8
            self.params -= self.learning_rate / (1 - 0.9**self.steps) * self.m / root
        else:
            self.params -= self.learning_rate * g
        return loss

    def epoch(self, x, y, batch_size, rng=None):
        """One pass through the data, shuffled by `rng` where given; the mean loss of a sample."""
        rows = len(x)
        order = np.arange(rows) if rng is None else rng.permutation(rows)
        total = 0.0
        for start in range(0, rows, batch_size):
            batch = order[start : start + batch_size]
            total += len(batch) * self.step(x[batch], y[batch])
        return total / rows
