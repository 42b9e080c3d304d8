// Turns a report into one table in Markdown. Ratios are tsray divided by the other: above 1 is good for rates, below 1
// for times and memory.

export function markdown(report) {
  const { machine, setup, sides, notRun, broken, rows } = report;
  const names = sides.map(({ name }) => name);
  const others = names.slice(1);
  const versions = sides.flatMap((side) => Object.entries(side.versions)).map((pair) => pair.join(" "));
  const head = ["row", "unit", "tsray", ...others.flatMap((name) => [name, `tsray / ${name}`])];
  const body = rows.map(({ name, unit, sides: of }) => [
    name,
    unit,
    show(of.tsray),
    ...others.flatMap((other) => [show(of[other]), ratio(of.tsray, of[other])]),
  ]);
  return [
    `${report.when.slice(0, 10)}, ${machine.cores} cores (${machine.cpu}), ${machine.memoryGb} GB, Node ${report.node}; ${versions.join(", ")}.`,
    `${setup.cpus} CPUs in the cluster, object store ${setup.objectStoreBytes / 2 ** 30} GiB, ${setup.passes} passes in turn${setup.quick ? " (quick)" : ""}, medians.`,
    "",
    line(head),
    line(head.map((_, i) => (i < 2 ? "---" : "---:"))),
    ...body.map(line),
    ...notRun.map(({ name, reason }) => `\nNot run: ${name} (${reason})`),
    ...broken.map(
      ({ name, group, pass, ended }) => `\nBroke off: ${name}, ${group}, in pass ${pass} (${ended})`,
    ),
  ].join("\n");
}

function line(cells) {
  return `| ${cells.map((cell) => String(cell).replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
}

function show(side) {
  if (side === undefined) return "";
  if (side.error !== undefined) return `failed: ${side.error.slice(0, 80)}`;
  return number(side.median);
}

function ratio(ours, theirs) {
  if (ours?.median === undefined || theirs?.median === undefined) return "";
  return `${number(ours.median / theirs.median)}x`;
}

/** Three digits that count. */
function number(value) {
  if (value >= 1000) return Math.round(Number(value.toPrecision(3))).toLocaleString("en-GB");
  return String(Number(value.toPrecision(3)));
}
