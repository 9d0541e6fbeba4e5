/** Every format with every number of levels and the sets of leaf sizes that units come with. */
import { coverage, type SlowFormat, type SlowGeometry } from "./slow-format.js";
import { DS, slowVmsav8 } from "./slow-vmsav8.js";
import { slowVtdss } from "./slow-vtdss.js";
import { slowX8664 } from "./slow-x86_64.js";

export const SLOW_FORMATS: readonly SlowFormat[] = [slowVtdss, slowX8664, ...slowVmsav8];

export interface Configuration extends SlowGeometry {
  readonly title: string;
  readonly format: SlowFormat;
}

/** 2^10, 2^20 ... bytes in short: "2M". */
function sizeName(size: bigint): string {
  const shift = size.toString(2).length - 1;
  return `${1 << (shift % 10)}${"KMGT"[Math.floor(shift / 10) - 1]}`;
}

/** A table of a format with leaves at the last level and at these, as wide as the levels and the format give. */
function configure(format: SlowFormat, levels: number, large: readonly number[]): Configuration {
  const sizes = [1, ...large].map((level) => coverage(level, format));
  return {
    title: `${format.name}, ${levels} levels, ${sizes.map(sizeName).join(" ")}`,
    format,
    levels,
    inputBits: Math.min(format.granuleShift + format.indexBits * levels, format.widestInput),
    outputBits: format.outputBits,
    pageSizes: sizes.reduce((bits, size) => bits | size),
    flags: 0,
  };
}

/** Every choice of the large leaves that a format has. */
function choices(levels: readonly number[]): readonly (readonly number[])[] {
  return levels.reduce<readonly (readonly number[])[]>(
    (sets, level) => sets.flatMap((set) => [[...set, level], set]),
    [[]],
  );
}

export const CONFIGURATIONS: readonly Configuration[] = SLOW_FORMATS.flatMap((format) =>
  Array.from({ length: format.maxLevels - format.minLevels + 1 }, (_, i) =>
    choices(format.largeLevels).map((large) => configure(format, format.minLevels + i, large)),
  ).flat(),
);

/** One per format and number of levels, every leaf size. */
export const FULL_CONFIGURATIONS = CONFIGURATIONS.filter(({ format, pageSizes }) =>
  format.largeLevels.every((level) => (pageSizes & coverage(level, format)) !== 0n),
);

/** Tables of VMSAv8-64 with fewer levels than usual, and with 52-bit addresses. */
export const UNUSUAL_CONFIGURATIONS: readonly Configuration[] = slowVmsav8.flatMap((format) => {
  const shallow = [1, 2].map((levels) => configure(format, levels, levels === 1 ? [] : [2]));
  const deepest = format.granuleShift === 12 ? 5 : format.maxLevels;
  const large = [...format.largeLevels, format.granuleShift === 12 ? 4 : 3];
  const wide = { ...configure(format, deepest, large), outputBits: 52, flags: format.granuleShift === 16 ? 0 : DS };
  const inputBits = Math.min(format.granuleShift + format.indexBits * deepest, 52);
  return [...shallow, { ...wide, inputBits, title: `${wide.title}, 52-bit addresses` }];
});

export function slowFormat(name: string): SlowFormat {
  const found = SLOW_FORMATS.find((format) => format.name === name);
  if (!found) throw new Error(`there is no model of ${name}: write one in test/support/`);
  return found;
}
