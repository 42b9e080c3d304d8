/* The loops of arithmetic.mjs, operation by operation, as a library for all sides: called by ctypes in Python, by koffi in
 * JavaScript. Built with -O2 -ffp-contract=off, so that no operations are fused that JavaScript does one by one. */
#include <math.h>
#include <stdlib.h>

static const double G = 2.959122082855911e-4;
enum { N = 5 };
static const double BODIES[N][7] = {
    {1.00000597682, 0, 0, 0, 0, 0, 0},
    {9.54786104043e-4, -3.5023653, -3.8169847, -1.5507963, 0.00565429, -0.0041249, -0.00190589},
    {2.85583733151e-4, 9.0755314, -3.0458353, -1.6483708, 0.00168318, 0.00483525, 0.00192462},
    {4.37273164546e-5, 8.310142, -16.2901086, -7.2521278, 0.00354178, 0.00137102, 0.00055029},
    {5.17759138449e-5, 11.4707666, -25.7294829, -10.8169456, 0.0028893, 0.00114527, 0.00039677},
};

static void accelerate(const double *m, const double *x, double *a) {
  for (int i = 0; i < 3 * N; i++) a[i] = 0;
  for (int i = 0; i < N; i++) {
    for (int j = i + 1; j < N; j++) {
      double dx = x[3 * j] - x[3 * i];
      double dy = x[3 * j + 1] - x[3 * i + 1];
      double dz = x[3 * j + 2] - x[3 * i + 2];
      double r2 = dx * dx + dy * dy + dz * dz;
      double f = G / (r2 * sqrt(r2));
      double fi = f * m[j];
      double fj = f * m[i];
      a[3 * i] += fi * dx;
      a[3 * i + 1] += fi * dy;
      a[3 * i + 2] += fi * dz;
      a[3 * j] -= fj * dx;
      a[3 * j + 1] -= fj * dy;
      a[3 * j + 2] -= fj * dz;
    }
  }
}

double orbit(int seed, int steps) {
  double m[N], x[3 * N], v[3 * N], a[3 * N];
  for (int i = 0; i < N; i++) {
    m[i] = BODIES[i][0];
    for (int k = 0; k < 3; k++) {
      x[3 * i + k] = BODIES[i][1 + k];
      v[3 * i + k] = BODIES[i][4 + k];
    }
  }
  x[3] += seed * 1e-6;
  double dt = 10;
  accelerate(m, x, a);
  for (int step = 0; step < steps; step++) {
    for (int i = 0; i < 3 * N; i++) {
      v[i] += 0.5 * dt * a[i];
      x[i] += dt * v[i];
    }
    accelerate(m, x, a);
    for (int i = 0; i < 3 * N; i++) v[i] += 0.5 * dt * a[i];
  }
  return x[3];
}

/* In doubles, as JavaScript has it. */
static double next_state(double state) { return fmod(state * 1103515245.0 + 12345.0, 2147483648.0); }

double periodogram(int seed, int points, int frequencies) {
  double *all = malloc(sizeof(double) * 6 * points);
  double *t = all, *y = t + points, *c = y + points, *s = c + points, *dc = s + points, *ds = dc + points;
  double state = seed * 2654435761.0 + 1, mean = 0, variance = 0, best = 0;
  for (int i = 0; i < points; i++) {
    state = next_state(state);
    t[i] = i + state / 2147483648.0;
    state = next_state(state);
    double phase = fmod(t[i] * 0.05, 1);
    y[i] = 4 * phase * (1 - phase) + state / 2147483648.0;
    mean += y[i];
  }
  mean /= points;
  for (int i = 0; i < points; i++) {
    y[i] -= mean;
    variance += y[i] * y[i];
  }
  variance /= points - 1;
  double step = (2 * 3.141592653589793 * 0.5) / frequencies;
  for (int i = 0; i < points; i++) {
    double angle = step * t[i];
    c[i] = cos(angle);
    s[i] = sin(angle);
    dc[i] = c[i];
    ds[i] = s[i];
  }
  for (int k = 0; k < frequencies; k++) {
    double sum_c = 0, sum_s = 0, sum_cs = 0, sum_yc = 0, sum_ys = 0;
    for (int i = 0; i < points; i++) {
      double ci = c[i], si = s[i];
      sum_c += ci * ci;
      sum_s += si * si;
      sum_cs += ci * si;
      sum_yc += y[i] * ci;
      sum_ys += y[i] * si;
      c[i] = ci * dc[i] - si * ds[i];
      s[i] = si * dc[i] + ci * ds[i];
    }
    double det = sum_c * sum_s - sum_cs * sum_cs;
    if (det > 1e-9) {
      double power = (sum_yc * sum_yc * sum_s - 2 * sum_yc * sum_ys * sum_cs + sum_ys * sum_ys * sum_c) / det;
      if (power > best) best = power;
    }
  }
  free(all);
  return best / (2 * variance);
}

double chi_squared(int index, int points) {
  double centre = 0.4 + 0.004 * (index % 50);
  double width = 0.02 + 0.002 * (index / 50);
  double state = 7, sum = 0;
  for (int i = 0; i < points; i++) {
    state = next_state(state);
    double x = (double)i / points;
    double u = (x - 0.5) / 0.06;
    double data = 1 / (1 + u * u) + 0.1 * (state / 2147483648.0 - 0.5);
    double w = (x - centre) / width;
    double d = data - 1 / (1 + w * w);
    sum += (d * d) / 0.0008333;
  }
  return sum;
}
