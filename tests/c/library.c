/* What test_c_functions.py calls: C that gets flatprop's functions and a network by address.
 *
 * Compiled once with real, as float or as double, and NAME, which adds f32 or f64 to a name.
 */
#ifdef COUNT_ALLOCATIONS
/* Preloaded, so that every allocation of the process comes here; for glibc. */
#include <errno.h>
#include <stddef.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static long allocations;

void *malloc(size_t size) { allocations++; return __libc_malloc(size); }
void *calloc(size_t n, size_t size) { allocations++; return __libc_calloc(n, size); }
void *realloc(void *old, size_t size) { allocations++; return __libc_realloc(old, size); }
void *aligned_alloc(size_t to, size_t size) { allocations++; return __libc_memalign(to, size); }
void *memalign(size_t to, size_t size) { allocations++; return __libc_memalign(to, size); }
int posix_memalign(void **out, size_t to, size_t size)
{
    allocations++;
    *out = __libc_memalign(to, size);
    return *out ? 0 : ENOMEM;
}
long allocations_so_far(void) { return allocations; }
#endif

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "flatprop.h"

typedef NAME(flatprop_functions) functions;
typedef NAME(flatprop_network) network;
typedef NAME(flatprop_optimizer) optimizer;

/* out: the size of every struct, followed by where its fields are. */
int layouts(int64_t *out)
{
    const int64_t all[] = {
        sizeof(flatprop_layer), offsetof(flatprop_layer, inputs),
        offsetof(flatprop_layer, units), offsetof(flatprop_layer, weights),
        offsetof(flatprop_layer, biases), offsetof(flatprop_layer, activation),
        offsetof(flatprop_layer, place), offsetof(flatprop_layer, function),
        offsetof(flatprop_layer, kind), offsetof(flatprop_layer, partner),
        offsetof(flatprop_layer, rate),
        sizeof(flatprop_objective), offsetof(flatprop_objective, loss),
        offsetof(flatprop_objective, divisor), offsetof(flatprop_objective, from_logits),
        offsetof(flatprop_objective, parameter), offsetof(flatprop_objective, function),
        offsetof(flatprop_objective, targets),
        sizeof(network), offsetof(network, layers), offsetof(network, n_layers),
        offsetof(network, objective), offsetof(network, params), offsetof(network, n_params),
        sizeof(optimizer), offsetof(optimizer, code), offsetof(optimizer, settings),
        offsetof(optimizer, n_settings), offsetof(optimizer, state),
        offsetof(optimizer, n_slots)};
    memcpy(out, all, sizeof all);
    return (int)(sizeof all / sizeof *all);
}

/* The pointers of the table in the header's order; how many. */
int table(const functions *f, int64_t *out)
{
    const int64_t all[] = {
        (int64_t)(intptr_t)f->workspace_size, (int64_t)(intptr_t)f->gradient_workspace_size,
        (int64_t)(intptr_t)f->forward, (int64_t)(intptr_t)f->loss,
        (int64_t)(intptr_t)f->loss_and_gradient, (int64_t)(intptr_t)f->vjp,
        (int64_t)(intptr_t)f->jacobian, (int64_t)(intptr_t)f->parameter_jacobian,
        (int64_t)(intptr_t)f->per_sample_gradients,
        (int64_t)(intptr_t)f->hessian_vector_product,
        (int64_t)(intptr_t)f->gauss_newton_vector_product, (int64_t)(intptr_t)f->update,
        (int64_t)(intptr_t)f->training_step, (int64_t)(intptr_t)f->sgd_step,
        (int64_t)(intptr_t)f->levenberg_marquardt_workspace_size,
        (int64_t)(intptr_t)f->levenberg_marquardt,
        (int64_t)(intptr_t)f->derivatives_workspace_size,
        (int64_t)(intptr_t)f->derivatives, (int64_t)(intptr_t)f->derivatives_vjp,
        (int64_t)(intptr_t)f->hessian_workspace_size, (int64_t)(intptr_t)f->hessian};
    memcpy(out, all, sizeof all);
    return (int)(sizeof all / sizeof *all);
}

int fits(const functions *f)
{
    return f->version == FLATPROP_ABI_VERSION && f->size == sizeof(real) &&
           sizeof *f == (2 + 21) * sizeof(int64_t);
}

static real *allocated(int64_t n) { return malloc((size_t)n * sizeof(real)); }

void forward(const functions *f, const network *net, int64_t rows, const real *x, real *out)
{
    real *workspace = allocated(f->workspace_size(net, rows));
    f->forward(net, rows, x, out, workspace);
    free(workspace);
}

/* Plain gradient descent on all rows, with the update written here. */
void descend(const functions *f, const network *net, int64_t rows, const real *x, const real *y,
             double rate, int64_t steps, double *losses)
{
    real *workspace = allocated(f->gradient_workspace_size(net, rows));
    real *gradient = allocated(net->n_params);
    const int64_t outputs = net->layers[net->n_layers - 1].units;
    for (int64_t step = 0; step < steps; step++) {
        losses[step] = f->loss_and_gradient(net, rows, x, y, outputs, NULL, gradient, workspace);
        for (int64_t i = 0; i < net->n_params; i++)
            net->params[i] -= (real)rate * gradient[i];
    }
    free(gradient);
    free(workspace);
}

void descend_fused(const functions *f, const network *net, int64_t rows, const real *x,
                   const real *y, double rate, int64_t steps, double *losses)
{
    real *workspace = allocated(f->gradient_workspace_size(net, rows));
    const int64_t outputs = net->layers[net->n_layers - 1].units;
    for (int64_t step = 0; step < steps; step++)
        losses[step] = f->sgd_step(net, rows, x, y, outputs, NULL, rate, workspace);
    free(workspace);
}

/* Mini-batches of `batch` rows in their order, by any optimizer; classes in y where y_columns is
 * 1. How many allocations there were while it trained, -1 if they are not counted. */
long train(const functions *f, const network *net, const optimizer *rule, int64_t rows,
           const real *x, const real *y, int64_t y_columns, const real *weight, int64_t batch,
           int64_t epochs, int in_two, double *losses)
{
    real *workspace = allocated(f->gradient_workspace_size(net, batch));
    real *gradient = allocated(net->n_params);
    const int64_t inputs = net->layers[0].inputs;
    long before = -1, after = -1;
#ifdef COUNT_ALLOCATIONS
    before = allocations;
#endif
    for (int64_t epoch = 0; epoch < epochs; epoch++) {
        double sum = 0; /* each batch counts with its rows */
        for (int64_t row = 0; row < rows; row += batch) {
            const int64_t n = rows - row < batch ? rows - row : batch;
            const real *here = x + row * inputs, *there = y + row * y_columns;
            const real *w = weight ? weight + row : NULL;
            double loss;
            if (in_two) {
                loss = f->loss_and_gradient(net, n, here, there, y_columns, w, gradient,
                                            workspace);
                f->update(net, rule, gradient);
            } else {
                loss = f->training_step(net, n, here, there, y_columns, w, rule, gradient,
                                        workspace);
            }
            sum += (double)n * loss;
        }
        losses[epoch] = sum / (double)rows;
    }
#ifdef COUNT_ALLOCATIONS
    after = allocations;
#endif
    free(gradient);
    free(workspace);
    return before < 0 ? -1 : after - before;
}

/* ---- an activation and a loss written in C */

static void cubic(int64_t n, real *z, real *slope, real *curvature, real *third)
{
    for (int64_t i = 0; i < n; i++) {
        const real at = z[i];
        z[i] = at + at * at * at / 4;
        if (slope)
            slope[i] = 1 + 3 * at * at / 4;
        if (curvature)
            curvature[i] = 3 * at / 2;
        if (third)
            third[i] = (real)1.5;
    }
}

static double quartic(int64_t n, double scale, const real *prediction, const real *y,
                      const real *weight, real *slope, real *tangent)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const real off = prediction[i] - y[i];
        sum += (double)(weight[i] * off * off * off * off);
        if (slope)
            slope[i] = (real)scale * weight[i] * 4 * off * off * off;
        if (tangent)
            tangent[i] *= (real)scale * weight[i] * 12 * off * off;
    }
    return sum;
}

/* The loss, its gradient, the Hessian times v; with both of them in place of what the hidden
 * layers and the loss were. */
double with_own(const functions *f, const network *net, int64_t rows, const real *x, const real *y,
                const real *v, real *gradient, real *product)
{
    const NAME(flatprop_activation) activation = cubic;
    const NAME(flatprop_loss_function) loss_function = quartic;
    flatprop_layer layers[8];
    flatprop_objective objective = *net->objective;
    network changed = *net;
    real *workspace = allocated(f->gradient_workspace_size(net, rows));
    const int64_t outputs = net->layers[net->n_layers - 1].units;
    double loss;
    for (int64_t l = 0; l < net->n_layers; l++) {
        layers[l] = net->layers[l];
        if (l < net->n_layers - 1) {
            layers[l].activation = FLATPROP_OWN;
            layers[l].function = (int64_t)(intptr_t)activation;
        }
    }
    objective.loss = FLATPROP_OWN;
    objective.function = (int64_t)(intptr_t)loss_function;
    changed.layers = layers;
    changed.objective = &objective;
    loss = f->loss_and_gradient(&changed, rows, x, y, outputs, NULL, gradient, workspace);
    f->hessian_vector_product(&changed, v, rows, x, y, outputs, NULL, product, workspace);
    free(workspace);
    return loss;
}

/* A loss of all outputs of a sample: the fourth power of their sum less y. */
static double sum_to_the_fourth(int64_t n, double scale, const real *prediction, const real *y,
                                const real *weight, real *slope, real *tangent, int64_t outputs,
                                int64_t targets)
{
    double sum = 0;
    for (int64_t row = 0; row < n / outputs; row++) {
        const int64_t first = row * outputs;
        const real w = weight[first];
        real off = -y[row * targets], moving = 0;
        for (int64_t k = 0; k < outputs; k++) {
            off += prediction[first + k];
            if (tangent)
                moving += tangent[first + k];
        }
        sum += (double)(w * off * off * off * off);
        for (int64_t k = 0; k < outputs; k++) {
            if (slope)
                slope[first + k] = (real)scale * w * 4 * off * off * off;
            if (tangent)
                tangent[first + k] = (real)scale * w * 12 * off * off * moving;
        }
    }
    return sum;
}

/* As with_own, of a loss with one target, whatever the outputs. */
double with_own_row(const functions *f, const network *net, int64_t rows, const real *x,
                    const real *y, const real *v, real *gradient, real *product)
{
    const NAME(flatprop_row_loss) row_loss = sum_to_the_fourth;
    flatprop_objective objective = {FLATPROP_OWN, 1.0, 0, 0.0, 0, 1};
    network changed = *net;
    real *workspace = allocated(f->gradient_workspace_size(net, rows));
    double loss;
    objective.function = (int64_t)(intptr_t)row_loss;
    changed.objective = &objective;
    loss = f->loss_and_gradient(&changed, rows, x, y, 1, NULL, gradient, workspace);
    f->hessian_vector_product(&changed, v, rows, x, y, 1, NULL, product, workspace);
    free(workspace);
    return loss;
}

/* ---- threads */

typedef struct {
    const functions *f;
    const network *net;
    int64_t rows, repeats;
    const real *x, *y;
    real *out, *gradient;
    double loss;
} job;

static void *work(void *given)
{
    job *j = given;
    const int64_t outputs = j->net->layers[j->net->n_layers - 1].units;
    real *workspace = allocated(j->f->gradient_workspace_size(j->net, j->rows));
    for (int64_t i = 0; i < j->repeats; i++) {
        j->f->forward(j->net, j->rows, j->x, j->out, workspace);
        j->loss = j->f->loss_and_gradient(j->net, j->rows, j->x, j->y, outputs, NULL, j->gradient,
                                          workspace);
    }
    free(workspace);
    return NULL;
}

/* Each of `n` threads with a small stack has `rows` rows of its own, and results of its own. */
int in_threads(const functions *f, const network *net, int n, int64_t rows, const real *x,
               const real *y, int64_t repeats, real *out, real *gradients, double *losses)
{
    const int64_t inputs = net->layers[0].inputs;
    const int64_t outputs = net->layers[net->n_layers - 1].units;
    pthread_t threads[64];
    job jobs[64];
    pthread_attr_t small;
    if (pthread_attr_init(&small) || pthread_attr_setstacksize(&small, STACK))
        return 1;
    for (int i = 0; i < n; i++) {
        jobs[i] = (job){f, net, rows, repeats, x + i * rows * inputs, y + i * rows * outputs,
                        out + i * rows * outputs, gradients + i * net->n_params, 0};
        if (pthread_create(&threads[i], &small, work, &jobs[i]))
            return 2;
    }
    for (int i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        losses[i] = jobs[i].loss;
    }
    return 0;
}
