// What the compiler makes of Tuner, its trainables and its results. Compiled, never run.
import { remote } from "../../src/index.ts";
import {
  type ConfigOf,
  choice,
  type Metrics,
  type ResultGrid,
  run,
  Tuner,
  uniform,
  withParameters,
  withResources,
} from "../../src/libs/tune/index.ts";
import { exactly } from "./equal.ts";

const space = { lr: uniform(0, 1), layers: choice([1, 2, 3]), fixed: "adam" } as const;
type Config = ConfigOf<typeof space>;

// An inline trainable gets its configuration's type from the space.
const tuner = new Tuner(
  (config) => {
    exactly<number>()(config.lr);
    exactly<1 | 2 | 3>()(config.layers);
    exactly<"adam">()(config.fixed);
    return { loss: config.lr * config.layers };
  },
  { space, metric: "loss", mode: "min" },
);
const results = tuner.fit();
exactly<Promise<ResultGrid<Config>>>()(results);
export const best = results.then((grid) => {
  exactly<Config>()(grid.getBestResult().config);
  return grid.getBestResult();
});

// Remote functions, generators, classes and wrapped ones.
const train = remote(async (config: Config) => ({ loss: config.lr }));
const stream = remote(async function* (config: Config): AsyncGenerator<Metrics> {
  yield { loss: config.lr };
});
const Stepping = remote(
  class {
    #lr = 0;
    setup(config: Config): void {
      this.#lr = config.lr;
    }
    step() {
      return { loss: this.#lr };
    }
  },
);
export const tuners = [
  new Tuner(train, { space }),
  new Tuner(stream, { space }),
  new Tuner(Stepping, { space }),
  new Tuner(withResources(train, { numCpus: 0.5 }), { space }),
  new Tuner(
    withResources(train, (config) => ({ numCpus: config.layers })),
    { space },
  ),
  new Tuner(
    withParameters((config: Config, { scale }: { scale: number }) => ({ loss: config.lr * scale }), {
      scale: 2,
    }),
    { space },
  ),
];
export const once = run(train, { space, metric: "loss", mode: "min" });

// @ts-expect-error: the space does not give what the trainable takes
new Tuner(train, { space: { lr: uniform(0, 1) } });
// @ts-expect-error: there is no such option
new Tuner(train, { space, numSample: 3 });
// @ts-expect-error: neither a function nor a class with step()
new Tuner({ loss: 1 }, { space });
// @ts-expect-error: neither more nor less
new Tuner(train, { space, metric: "loss", mode: "lower" });
