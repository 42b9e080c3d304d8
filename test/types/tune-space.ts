// Goal: the type of a config follows from its space. Method: compiled, never run; see types.test.ts.

import { Random } from "../../src/libs/tune/random.ts";
import {
  type ConfigOf,
  choice,
  defineSpace,
  gridSearch,
  loguniform,
  randint,
  sampleFrom,
  switchOn,
  type TrialSpace,
  uniform,
} from "../../src/libs/tune/space/index.ts";
import { exactly } from "./equal.ts";

const random = new Random(1);

// Numbers, choices and constants.
const flat = defineSpace({ lr: loguniform(1e-5, 1e-1), layers: choice([1, 2, 3]), epochs: randint(1, 9) });
exactly<{ lr: number; layers: 1 | 2 | 3; epochs: number }>()(flat.sample(random));

// The plain object, as a tuner takes it.
const userSpace = { lr: loguniform(1e-5, 1e-1), layers: choice([1, 2, 3]), batch: 32, name: "net" };
exactly<{ lr: number; layers: 1 | 2 | 3; batch: number; name: string }>()({} as ConfigOf<typeof userSpace>);

// Nested objects and arrays; grids; values that are objects.
const nested = defineSpace({
  optimizer: { name: choice(["sgd", "adam"]), momentum: uniform(0, 1) },
  sizes: [randint(1, 4), randint(1, 4)],
  block: gridSearch([{ width: 8 }, { width: 16 }]),
});
exactly<{
  optimizer: { name: "sgd" | "adam"; momentum: number };
  sizes: [number, number];
  block: { width: 8 } | { width: 16 };
}>()(nested.sample(random));

// Conditional: a union told apart by its key.
const conditional = defineSpace({
  model: switchOn("algo", { svm: { c: uniform(0, 1) }, forest: { depth: randint(1, 9) } }),
});
const { model } = conditional.sample(random);
exactly<{ algo: "svm"; c: number } | { algo: "forest"; depth: number }>()(model);
if (model.algo === "svm") exactly<number>()(model.c);
// @ts-expect-error only a forest has a depth
if (model.algo === "svm") model.depth;

// A switch as the whole space.
const whole = defineSpace(switchOn("kind", { a: { x: uniform(0, 1) }, b: {} }));
exactly<{ kind: "a"; x: number } | { kind: "b" }>()(whole.sample(random));

// Values that are domains themselves; calculated values.
const mixed = defineSpace({
  dropout: choice(["none", uniform(0.1, 0.5)]),
  double: sampleFrom((config: { lr: number }) => config.lr * 2),
});
exactly<{ dropout: "none" | number; double: number }>()(mixed.sample(random));

// Define by run: the config is what the function returns.
const dynamic = defineSpace((trial: TrialSpace) => ({
  layers: trial.suggestInt("layers", 1, 3),
  kind: trial.suggestCategorical("kind", ["relu", "tanh"]),
}));
exactly<{ layers: number; kind: "relu" | "tanh" }>()(dynamic.sample(random));

// @ts-expect-error bounds are numbers
uniform("0", 1);
// @ts-expect-error a choice takes a list
choice("adam");
// @ts-expect-error so does a grid
gridSearch({ values: [1, 2] });
// @ts-expect-error the branches of a switch are objects
switchOn("algo", { svm: 1 });
// @ts-expect-error a space is no number
defineSpace(3);
