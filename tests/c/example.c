/* Trains a network that Python has made on all rows at once; 0 if all went well. */
#include <stdlib.h>

#include "flatprop.h"

int train(const flatprop_functions_f64 *flatprop, const flatprop_network_f64 *network,
          const flatprop_optimizer_f64 *optimizer, int64_t rows, const double *x, const double *y,
          int64_t epochs)
{
    if (flatprop->version != FLATPROP_ABI_VERSION || flatprop->size != sizeof(double))
        return 1;
    const int64_t outputs = network->layers[network->n_layers - 1].units;
    const int64_t size = flatprop->gradient_workspace_size(network, rows);
    double *workspace = malloc((size_t)size * sizeof(double));
    double *gradient = malloc((size_t)network->n_params * sizeof(double));
    if (workspace == NULL || gradient == NULL) {
        free(workspace);
        free(gradient);
        return 2;
    }
    for (int64_t epoch = 0; epoch < epochs; epoch++)
        flatprop->training_step(network, rows, x, y, outputs, NULL, optimizer, gradient, workspace);
    free(gradient);
    free(workspace);
    return 0;
}
