// The standard functions that searchers are measured on; the same as in rivals/optuna_quality.py.
const { cos, exp, sin, sqrt, PI, E } = Math;
const sum = (values) => values.reduce((total, value) => total + value, 0);
const box = (d, low, high) => Array.from({ length: d }, () => [low, high]);

const HARTMANN_A = [
  [10, 3, 17, 3.5, 1.7, 8],
  [0.05, 10, 17, 0.1, 8, 14],
  [3, 3.5, 1.7, 10, 17, 8],
  [17, 8, 0.05, 10, 0.1, 14],
];
const HARTMANN_P = [
  [1312, 1696, 5569, 124, 8283, 5886],
  [2329, 4135, 8307, 3736, 1004, 9991],
  [2348, 1451, 3522, 2883, 3047, 6650],
  [4047, 8828, 8732, 5743, 1091, 381],
];

const branin = ([x, y]) =>
  (y - (5.1 / (4 * PI ** 2)) * x * x + (5 / PI) * x - 6) ** 2 + 10 * (1 - 1 / (8 * PI)) * cos(x) + 10;
const camel = ([x, y]) => (4 - 2.1 * x * x + x ** 4 / 3) * x * x + x * y + (-4 + 4 * y * y) * y * y;
const hartmann6 = (v) =>
  -sum(
    [1, 1.2, 3, 3.2].map(
      (c, i) => c * exp(-sum(v.map((x, j) => HARTMANN_A[i][j] * (x - HARTMANN_P[i][j] * 1e-4) ** 2))),
    ),
  );
const rosenbrock = (v) => sum(v.slice(1).map((b, i) => 100 * (b - v[i] ** 2) ** 2 + (1 - v[i]) ** 2));
const ackley = (v) =>
  -20 * exp(-0.2 * sqrt(sum(v.map((x) => x * x)) / v.length)) -
  exp(sum(v.map((x) => cos(2 * PI * x))) / v.length) +
  20 +
  E;
const rastrigin = (v) => 10 * v.length + sum(v.map((x) => x * x - 10 * cos(2 * PI * x)));
const levy = (v) => {
  const w = v.map((x) => 1 + (x - 1) / 4);
  const last = w.at(-1);
  const middle = sum(w.slice(0, -1).map((a) => (a - 1) ** 2 * (1 + 10 * sin(PI * a + 1) ** 2)));
  return sin(PI * w[0]) ** 2 + middle + (last - 1) ** 2 * (1 + sin(2 * PI * last) ** 2);
};

/** Name to [function, box, lowest value]. */
export const FUNCTIONS = {
  branin: [
    branin,
    [
      [-5, 10],
      [0, 15],
    ],
    0.39788735772973816,
  ],
  camel: [
    camel,
    [
      [-3, 3],
      [-2, 2],
    ],
    -1.0316284534898774,
  ],
  hartmann6: [hartmann6, box(6, 0, 1), -3.322368011415515],
  rosenbrock2: [rosenbrock, box(2, -5, 10), 0],
  rosenbrock5: [rosenbrock, box(5, -5, 10), 0],
  ackley5: [ackley, box(5, -20, 30), 0],
  rastrigin5: [rastrigin, box(5, -5.12, 5.12), 0],
  levy5: [levy, box(5, -10, 10), 0],
};
export const CHECKPOINTS = [25, 50, 100, 200];
