/* The firmware of a thermometer, as a desktop program: a network turns volts into degrees Celsius.
 *
 * examples/c_program.py trains the network, writes thermistor.c and thermistor.h, and builds this program with
 *
 *     cc -std=c99 -O2 main.c thermistor.c -lm -o thermometer
 *
 *     ./thermometer 2.75          prints one temperature
 *     ./thermometer < volts.txt   prints "volts celsius" for every number that it reads
 */
#include <stdio.h>
#include <stdlib.h>

#include "thermistor.h"

/* The network was trained on inputs and outputs between about -1 and 1. */
static float celsius(float volts)
{
    const float x = volts / 1.65f - 1.0f;
    float y;

    thermistor(&x, &y); /* one row; nothing is allocated */
    return 100.0f * y;
}

int main(int argc, char **argv)
{
    float volts;

    if (argc > 1) {
        printf("%.2f\n", celsius(strtof(argv[1], NULL)));
        return 0;
    }
    while (scanf("%f", &volts) == 1)
        printf("%.9g %.9g\n", volts, celsius(volts));
    return 0;
}
