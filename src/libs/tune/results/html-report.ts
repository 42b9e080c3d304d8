/** A report of the experiment as one self-contained HTML file. */
import type { Storage } from "../storage/storage.ts";
import type { Experiment } from "../tuner/experiment.ts";

export function writeHtmlReport(_experiment: Experiment, _storage: Storage): void {}
