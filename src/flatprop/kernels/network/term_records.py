"""A loss that is a sum of terms, as kernels take it: records of addresses and numbers.

| term | what it adds to the loss of a batch |
| --- | --- |
| samples | their usual loss; with dy also `weight` · mean (∂ŷ/∂x - dy)² |
| an equation | `weight` · mean over its points of Σ r² |

The samples are term 0, equations come after them. A batch takes the same part of each equation's
points as of the samples. It goes through the rows of one term after another, block by block.
Block i of a batch, counted over all terms, is of shard i modulo `shards`: each shard has a
gradient of its own, as in `training_loop`.

Each thread has records of its own. They begin with the same numbers, and only `scratch` differs.
"""

import numpy as np

from flatprop.kernels.compile import kernel
from flatprop.kernels.network.records import LAYER, LOSS_RECORD, array_at

TERM = np.dtype(
    [(name, np.int64) for name in ("function", "rows", "block_rows", "order", "shuffled")]
    + [(name, np.int64) for name in ("layers", "n_layers", "loss_record", "params", "n_params")]
    + [(name, np.int64) for name in ("x", "y", "columns", "sample_weight", "weighted", "dy")]
    + [(name, np.int64) for name in ("directions", "n_directions", "seconds", "residual")]
    + [(name, np.int64) for name in ("unknowns", "n_unknowns", "unknowns_before")]
    + [(name, np.int64) for name in ("ones", "scratch", "x_size", "y_size", "dy_size")]
    + [(name, np.int64) for name in ("first", "count", "accumulate", "gradient", "slopes")]
    + [(name, np.float64) for name in ("weight", "scale", "total")]
)
"""One term; arrays by their addresses.

| field | what it holds |
| --- | --- |
| `function` | the function `(term, like)` that goes through one block: see `derivative_losses` |
| `rows`, `block_rows` | how many samples or points there are, and how many a block has at most |
| `order` | the order of the rows, (rows,) int64, where they are `shuffled` |
| `layers` to `n_params` | the network, as `NetworkArrays` |
| `x` | (rows · inputs,) |
| `y`, `dy` | (rows · `columns`,), and (rows · outputs · inputs,) if there are slopes |
| `sample_weight` | (rows,) where the samples are `weighted` |
| `directions` | (`n_directions`, inputs); with second derivatives along the first `seconds` |
| `residual` | the function of an `EquationResidual` |
| `unknowns` | those of this equation, `n_unknowns`, behind `unknowns_before` others; float64 |
| `ones` | (block_rows · outputs,), filled with ones if the samples are not weighted |
| `scratch` | `x_size`, `y_size` and `dy_size` numbers, then the workspace of a stack |
| `weight` | how much slopes or an equation count |
| `first`, `count` | the rows of this block |
| `accumulate` | whether its gradient is added to what is there |
| `gradient`, `slopes` | the gradient with respect to parameters and to the unknowns |
| `scale` | of samples, `backprop.scale_of`; of an equation, its weight over the batch's points |
| `total` | Σ w of the batch's samples |
"""

BATCH = np.dtype(
    [(name, np.int64) for name in ("terms", "count", "batch_size", "batches", "with_points")]
    + [(name, np.int64) for name in ("shards", "gradient", "gradient_bytes", "losses")]
    + [(name, np.int64) for name in ("unknowns", "n_unknowns", "unknowns_before", "slopes")]
    + [(name, np.int64) for name in ("code", "settings", "own_settings", "n_settings", "state")]
    + [(name, np.int64) for name in ("ranges", "done", "blocks")]
)
"""How batches of terms are gone through.

| field | what it holds |
| --- | --- |
| `terms`, `count` | the `TERM` records |
| `batch_size`, `batches` | of the samples, and how many batches there are in an epoch |
| `with_points` | whether there are equations |
| `gradient` | of shard 0; that of shard s is s · `gradient_bytes` further on |
| `losses` | float64, the loss of each block of a batch |
| `unknowns` | of all equations, `n_unknowns`, float64; `unknowns_before` is a copy from before the
  last update |
| `slopes` | (shards, n_unknowns) float64: the gradient with respect to the unknowns |
| `code` to `ranges` | the optimizer of the unknowns, as for `updates.update_trained`; its step,
  rate and clipping are taken from `settings` into `own_settings` |
| `done` | how many blocks of this batch are done |
| `blocks` | how many blocks the last batch had |
"""
WITH_POINTS = list(BATCH.names or ()).index("with_points")


@kernel
def term_of(term):
    """The record that the function of a term is given."""
    return array_at(term, TERM, 1)[0]


@kernel
def network_of(term, like):
    """layers, loss record and params."""
    loss_records = array_at(term.loss_record, LOSS_RECORD, 1)
    params = array_at(term.params, like, term.n_params)
    return array_at(term.layers, LAYER, term.n_layers), loss_records[0], params
