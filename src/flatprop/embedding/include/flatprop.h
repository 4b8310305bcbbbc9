/* flatprop.h: dense neural networks at hardware speed, through C function pointers.
 *
 * The functions are compiled by flatprop inside a Python process, for the processor it runs on.
 * They reach C as the address of a table of pointers, `flatprop.c_functions(dtype).address`, and
 * so do networks (`flatprop.c_network(net)`) and optimizers (`flatprop.c_optimizer(...)`): there
 * is nothing to link with. All addresses hold in that process only. Those of functions hold until
 * it ends, those of networks and optimizers as long as the Python object that has them.
 *
 * What holds for every function:
 *
 * - It needs no Python and no global interpreter lock, allocates nothing, takes no lock and keeps
 *   no state of its own. 64 KB of stack are enough for it.
 * - Nothing is checked: a wrong size or a NULL reads or writes beyond an array.
 * - Matrices are row-major without gaps: x is (rows, inputs), out (rows, outputs). In Fortran,
 *   which counts the other way, they are x(inputs, rows) and out(outputs, rows).
 * - rows is 1 or more, and all rows go through the network as one block.
 * - What is written (out, gradient, workspace, params, ...) overlaps nothing else that is passed.
 * - The workspace is overwritten; what it holds between two calls does not matter. It need not be
 *   aligned, but is faster at a multiple of 64 bytes.
 * - Any number of threads may call at once, also with one and the same network. Each needs its own
 *   workspace and its own arrays to be written; while one thread changes params (update,
 *   training_step, sgd_step) no other may use the network.
 * - A NaN or an infinity among the inputs is computed with, as the floating-point standard has it.
 *
 * float networks go with what ends in _f32, double ones with _f64.
 */
#ifndef FLATPROP_H
#define FLATPROP_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Changes whenever anything in this file does. */
#define FLATPROP_ABI_VERSION 3

/* The activation or the loss of a record that has a function of its own. */
#define FLATPROP_OWN (-1)

/* One layer, a = f(x W + b). A layer of another kind, such as a layer normalisation, has a
   function that is made in the Python process: take its record from there. */
typedef struct flatprop_layer {
    int64_t inputs;
    int64_t units;
    int64_t weights;    /* where W, (inputs, units), begins in params */
    int64_t biases;     /* where b, (units), begins in params: after W */
    int64_t activation; /* flatprop's own number for f; FLATPROP_OWN: `function` */
    int64_t place;      /* how many units the layers before have */
    int64_t function;   /* the address of a flatprop_activation_f32 or _f64; 0: none */
    int64_t kind;       /* 0: dense; the others are flatprop's own */
    int64_t partner;    /* of the two ends of a residual block, the other one; of the last layer,
                           the end of the last such block; 0: none */
    double rate;        /* of a dropout, which these functions leave out */
} flatprop_layer;

/* What is made small. */
typedef struct flatprop_objective {
    int64_t loss;        /* flatprop's own number for it; FLATPROP_OWN: `function` */
    double divisor;      /* of a mean: how often a sample's weight counts; 0: the loss is a sum */
    int64_t from_logits; /* 1: computed from z of the last layer, not from a */
    double parameter;    /* Huber's delta, the quantile's q */
    int64_t function;    /* the address of a flatprop_loss_function_f32 or _f64, or of a
                            flatprop_row_loss_f32 or _f64; 0: none */
    int64_t targets;     /* how many columns y has; 0: as many as there are outputs */
} flatprop_objective;

/* The types for one kind of floating-point numbers.
 *
 * flatprop_network: params belongs to the Python network, and training changes it in place. A copy
 * of the struct with other params is another network of the same shape; so that threads can train
 * apart, for instance.
 *
 * flatprop_optimizer: settings are the number of updates so far, the learning rate, a factor for
 * the gradient, then what the optimizer needs; state is (n_slots, n_params). Both are changed by
 * every update. A program may write settings[FLATPROP_LEARNING_RATE] between updates.
 *
 * flatprop_activation: overwrites z, n numbers, with a, slope with da/dz, curvature with d2a/dz2 and
 * third with d3a/dz3, the last three where they are not NULL. Where one is given, so are those
 * before it. Several threads may call it at once.
 *
 * flatprop_loss_function: returns the sum of weight times loss over n numbers. It overwrites slope
 * with scale * weight * (d loss / d prediction) and multiplies tangent by
 * scale * weight * (d2 loss / d prediction2), each where it is not NULL.
 *
 * flatprop_row_loss: the same for a loss that sees all outputs of a sample. The n numbers are
 * n / outputs rows of prediction, weight, slope and tangent; y has `targets` columns. The weights
 * of a row are equal. tangent is overwritten with scale * weight times the product of the row's
 * Hessian with it. slope may be the array prediction: read a row before you write it.
 *
 * Every loss is called with the arguments of a flatprop_row_loss. A flatprop_loss_function does
 * not look at the last two, which the calling conventions of C allow for on every processor that
 * flatprop runs on.
 */
#define FLATPROP_DEFINE_TYPES(real, suffix)                                                       \
    typedef struct flatprop_network_##suffix {                                                    \
        const flatprop_layer *layers;                                                             \
        int64_t n_layers;                                                                         \
        const flatprop_objective *objective;                                                      \
        real *params;                                                                             \
        int64_t n_params;                                                                         \
    } flatprop_network_##suffix;                                                                  \
                                                                                                  \
    typedef struct flatprop_optimizer_##suffix {                                                  \
        int64_t code;                                                                             \
        double *settings;                                                                         \
        int64_t n_settings;                                                                       \
        real *state;                                                                              \
        int64_t n_slots;                                                                          \
    } flatprop_optimizer_##suffix;                                                                \
                                                                                                  \
    typedef void (*flatprop_activation_##suffix)(int64_t n, real *z, real *slope,                 \
                                                 real *curvature, real *third);                   \
    typedef double (*flatprop_loss_function_##suffix)(                                            \
        int64_t n, double scale, const real *prediction, const real *y, const real *weight,       \
        real *slope, real *tangent);                                                              \
    typedef double (*flatprop_row_loss_##suffix)(                                                 \
        int64_t n, double scale, const real *prediction, const real *y, const real *weight,       \
        real *slope, real *tangent, int64_t outputs, int64_t targets);

FLATPROP_DEFINE_TYPES(float, f32)
FLATPROP_DEFINE_TYPES(double, f64)
#undef FLATPROP_DEFINE_TYPES

/* Places in the settings of an optimizer. */
enum { FLATPROP_STEP = 0, FLATPROP_LEARNING_RATE = 1 };

/* How many numbers the solver of levenberg_marquardt has. */
enum { FLATPROP_SOLVER_NUMBERS = 11 };

/* The functions, in the order of the table.
 *
 * y is (rows, y_columns): the targets of the objective, or one column of class indices for
 * "cross_entropy". weight is (rows), or NULL where every sample counts alike. If the loss has
 * weights of classes and y has class indices, weight is the sample's weight times that of its
 * class. "<-" is what is overwritten.
 *
 * workspace_size          how many numbers forward needs as its workspace for so many rows. The
 *                         two sizes depend on the network's shape, not on its parameters.
 * gradient_workspace_size the same for any other function; enough for forward, too
 * forward                 out (rows, outputs) <- the outputs for x
 * loss                    returns the loss
 * loss_and_gradient       gradient (n_params) <- dL/dparams; returns L
 * vjp                     dL_dx (rows, inputs) <- dL/dx, and gradient (n_params) += dL/dparams, from
 *                         dL_dy (rows, outputs) = dL/dout; either is left out where it is NULL
 * jacobian                out (rows, outputs, inputs) <- d outputs / dx
 * parameter_jacobian      out (rows, outputs, n_params) <- d outputs / dparams
 * per_sample_gradients    out (rows, n_params) <- the gradient of each sample's own loss
 * hessian_vector_product  out (n_params) <- the Hessian of the loss times v (n_params)
 * gauss_newton_vector_product  the same with the Gauss-Newton matrix
 * update                  params, optimizer <- after one update from gradient, which is read
 * training_step           params, optimizer, gradient (n_params) <- after one step on all rows;
 *                         returns the loss before it
 * sgd_step                params <- params - learning_rate * gradient, all rows at once, without
 *                         storing the gradient; returns the loss before it
 * levenberg_marquardt_workspace_size  the workspace of the next function
 * levenberg_marquardt     params, solver <- after up to so many iterations, for a loss of squares;
 *                         returns the loss there. solver (FLATPROP_SOLVER_NUMBERS) holds the
 *                         settings, from mu on: mu, mu_dec, mu_inc, mu_max, min_grad, goal, ftol,
 *                         xtol, 1 for scaling="more" or 0, 0; and the rule that has ended the
 *                         iterations, see flatprop.kernels.levenberg_marquardt
 * derivatives_workspace_size  the workspace of the next two functions
 * derivatives             u (rows, outputs) <- the outputs; du and d2u (rows, n_directions, outputs) <-
 *                         their first and second derivatives along each of the directions
 *                         (n_directions, inputs); the second ones are left out where d2u is NULL
 * derivatives_vjp         gradient (n_params) += dL/dparams from dL/du, dL/d(du) and dL/d(d2u), the
 *                         last one NULL where L has no second derivatives
 * hessian_workspace_size  the workspace of the next function
 * hessian                 out (rows, outputs, inputs, inputs) <- the second derivatives of the
 *                         outputs with respect to all pairs of inputs
 *
 * An entry is NULL where `flatprop.c_functions` was asked for others only.
 */
#define FLATPROP_DEFINE_FUNCTIONS(real, suffix)                                                   \
    typedef int64_t (*flatprop_workspace_size_##suffix)(const flatprop_network_##suffix *network, \
                                                        int64_t rows);                            \
    typedef void (*flatprop_forward_##suffix)(const flatprop_network_##suffix *network,           \
                                              int64_t rows, const real *x, real *out,             \
                                              real *workspace);                                   \
    typedef double (*flatprop_loss_##suffix)(const flatprop_network_##suffix *network,            \
                                             int64_t rows, const real *x, const real *y,          \
                                             int64_t y_columns, const real *weight,               \
                                             real *workspace);                                    \
    typedef double (*flatprop_loss_and_gradient_##suffix)(                                        \
        const flatprop_network_##suffix *network, int64_t rows, const real *x, const real *y,     \
        int64_t y_columns, const real *weight, real *gradient, real *workspace);                  \
    typedef void (*flatprop_vjp_##suffix)(const flatprop_network_##suffix *network,               \
                                          int64_t rows, const real *x, const real *dL_dy,         \
                                          real *dL_dx, real *gradient, real *workspace);          \
    typedef void (*flatprop_jacobian_##suffix)(const flatprop_network_##suffix *network,          \
                                               int64_t rows, const real *x, real *out,            \
                                               real *workspace);                                  \
    typedef void (*flatprop_per_sample_gradients_##suffix)(                                       \
        const flatprop_network_##suffix *network, int64_t rows, const real *x, const real *y,     \
        int64_t y_columns, real *out, real *workspace);                                           \
    typedef void (*flatprop_curvature_product_##suffix)(                                          \
        const flatprop_network_##suffix *network, const real *v, int64_t rows, const real *x,     \
        const real *y, int64_t y_columns, const real *weight, real *out, real *workspace);        \
    typedef void (*flatprop_update_##suffix)(const flatprop_network_##suffix *network,            \
                                             const flatprop_optimizer_##suffix *optimizer,        \
                                             const real *gradient);                               \
    typedef double (*flatprop_training_step_##suffix)(                                            \
        const flatprop_network_##suffix *network, int64_t rows, const real *x, const real *y,     \
        int64_t y_columns, const real *weight, const flatprop_optimizer_##suffix *optimizer,      \
        real *gradient, real *workspace);                                                         \
    typedef double (*flatprop_sgd_step_##suffix)(                                                 \
        const flatprop_network_##suffix *network, int64_t rows, const real *x, const real *y,     \
        int64_t y_columns, const real *weight, double learning_rate, real *workspace);            \
    typedef double (*flatprop_levenberg_marquardt_##suffix)(                                      \
        const flatprop_network_##suffix *network, int64_t rows, const real *x, const real *y,     \
        int64_t y_columns, const real *weight, real *solver, int64_t iterations,                  \
        real *workspace);                                                                         \
    typedef int64_t (*flatprop_derivatives_workspace_size_##suffix)(                              \
        const flatprop_network_##suffix *network, int64_t rows, int64_t n_directions);            \
    typedef void (*flatprop_derivatives_##suffix)(                                                \
        const flatprop_network_##suffix *network, int64_t rows, const real *x,                    \
        int64_t n_directions, const real *directions, real *u, real *du, real *d2u,               \
        real *workspace);                                                                         \
    typedef void (*flatprop_derivatives_vjp_##suffix)(                                            \
        const flatprop_network_##suffix *network, int64_t rows, const real *x,                    \
        int64_t n_directions, const real *directions, const real *dL_du, const real *dL_ddu,      \
        const real *dL_dd2u, real *gradient, real *workspace);                                    \
                                                                                                  \
    typedef struct flatprop_functions_##suffix {                                                  \
        int64_t version; /* FLATPROP_ABI_VERSION of the flatprop that made the table */           \
        int64_t size;    /* bytes of a number: 4 or 8 */                                          \
        flatprop_workspace_size_##suffix workspace_size;                                          \
        flatprop_workspace_size_##suffix gradient_workspace_size;                                 \
        flatprop_forward_##suffix forward;                                                        \
        flatprop_loss_##suffix loss;                                                              \
        flatprop_loss_and_gradient_##suffix loss_and_gradient;                                    \
        flatprop_vjp_##suffix vjp;                                                                \
        flatprop_jacobian_##suffix jacobian;                                                      \
        flatprop_jacobian_##suffix parameter_jacobian;                                            \
        flatprop_per_sample_gradients_##suffix per_sample_gradients;                              \
        flatprop_curvature_product_##suffix hessian_vector_product;                               \
        flatprop_curvature_product_##suffix gauss_newton_vector_product;                          \
        flatprop_update_##suffix update;                                                          \
        flatprop_training_step_##suffix training_step;                                            \
        flatprop_sgd_step_##suffix sgd_step;                                                      \
        flatprop_workspace_size_##suffix levenberg_marquardt_workspace_size;                      \
        flatprop_levenberg_marquardt_##suffix levenberg_marquardt;                                \
        flatprop_derivatives_workspace_size_##suffix derivatives_workspace_size;                  \
        flatprop_derivatives_##suffix derivatives;                                                \
        flatprop_derivatives_vjp_##suffix derivatives_vjp;                                        \
        flatprop_workspace_size_##suffix hessian_workspace_size;                                  \
        flatprop_jacobian_##suffix hessian;                                                       \
    } flatprop_functions_##suffix;

FLATPROP_DEFINE_FUNCTIONS(float, f32)
FLATPROP_DEFINE_FUNCTIONS(double, f64)
#undef FLATPROP_DEFINE_FUNCTIONS

#ifdef __cplusplus
}
#endif

#endif
