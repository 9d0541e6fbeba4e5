/** Every format with every number of levels and the sets of leaf sizes that units come with. */
import { coverage, type SlowFormat, type SlowGeometry } from "./slow-format.js";
import { slowVmsav8 } from "./slow-vmsav8.js";
import { slowVtdss } from "./slow-vtdss.js";
import { slowX8664 } from "./slow-x86_64.js";

export const SLOW_FORMATS: readonly SlowFormat[] = [slowVtdss, slowX8664, slowVmsav8];

const SIZES: readonly (readonly [string, bigint])[] = [
  ["4K 2M 1G", coverage(1) | coverage(2) | coverage(3)],
  ["4K 2M", coverage(1) | coverage(2)],
  ["4K 1G", coverage(1) | coverage(3)],
  ["4K", coverage(1)],
];

export interface Configuration extends SlowGeometry {
  readonly title: string;
  readonly format: SlowFormat;
}

export const CONFIGURATIONS: readonly Configuration[] = SLOW_FORMATS.flatMap((format) => {
  const configurations: Configuration[] = [];
  for (let levels = format.minLevels; levels <= format.maxLevels; levels++) {
    for (const [sizes, pageSizes] of SIZES) {
      configurations.push({
        title: `${format.name}, ${levels} levels, ${sizes}`,
        format,
        levels,
        inputBits: 12 + 9 * levels,
        outputBits: format.outputBits,
        pageSizes,
        flags: 0,
      });
    }
  }
  return configurations;
});

/** One per format and number of levels, every leaf size. */
export const FULL_CONFIGURATIONS = CONFIGURATIONS.filter((each) => each.title.endsWith("4K 2M 1G"));

export function slowFormat(name: string): SlowFormat {
  const found = SLOW_FORMATS.find((format) => format.name === name);
  if (!found) throw new Error(`there is no model of ${name}: write one in test/support/`);
  return found;
}
