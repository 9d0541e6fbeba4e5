import type { Capabilities } from "../../../src/vtd/capabilities.js";
import type { Random } from "../random.js";
import { type RandomMemory, randomField } from "./random-memory.js";
import type { Device } from "./random-requests.js";
import { RandomSecondStage } from "./random-tables.js";

/** A supported AW. */
export function randomAw(random: Random, capabilities: Capabilities): number {
  return random.pick([1, 2, 3].filter((aw) => (capabilities.cap.SAGAW >> aw) & 1));
}

/** A few functions on two buses, in both halves of a bus. */
export function randomSids(random: Random): readonly number[] {
  const buses = [random.below(256), random.below(256)];
  const sids = Array.from({ length: 4 }, () => (random.pick(buses) << 8) | random.below(256));
  return [...new Set(sids)];
}

/** A second stage for this AW, with some pages mapped. */
export function randomSecondStage(
  memory: RandomMemory,
  capabilities: Capabilities,
  aw: number,
  snoop: boolean,
): RandomSecondStage {
  const levels = aw + 2;
  const tables = new RandomSecondStage(memory, {
    levels,
    inputBits: Math.min(capabilities.mgaw, 12 + 9 * levels),
    pageSizes: capabilities.secondStagePageSizes,
    snoop,
  });
  tables.fill(10);
  return tables;
}

function withDefects(memory: RandomMemory, words: [bigint, bigint]): void {
  const { random, haw } = memory;
  switch (random.below(6)) {
    case 0:
      words[0] &= ~1n;
      break;
    case 1:
      words[0] = (words[0] & 0xfffn) | memory.hole();
      break;
    case 2:
      words[0] |= random.pick([1n << BigInt(4 + random.below(8)), 1n << BigInt(haw + random.below(64 - haw))]);
      break;
    case 3:
      words[1] |= random.pick([1n << 7n, 1n << BigInt(24 + random.below(40))]);
      break;
    case 4:
      words[0] ^= randomField(random, 3, 2);
      break;
    default:
      words[1] ^= randomField(random, 2, 0);
  }
}

const UNTRANSLATED_ONLY = 0b00n;
const ALL_TYPES = 0b01n;
const PASS_THROUGH = 0b10n;

/** Fills a legacy root table and what hangs from it. */
export function makeLegacyDevices(memory: RandomMemory, capabilities: Capabilities, root: bigint): readonly Device[] {
  const { random, words } = memory;
  const { ecap, domainBits } = capabilities;
  const contextTables = new Map<number, bigint>();
  return randomSids(random).map((sid): Device => {
    const bus = sid >> 8;
    let table = contextTables.get(bus);
    if (table === undefined) {
      table = memory.allocate();
      contextTables.set(bus, table);
      const entry: [bigint, bigint] = [table | 1n, 0n];
      if (random.chance(0.04)) withDefects(memory, entry);
      words.set(root + BigInt(bus) * 16n, entry[0]);
      words.set(root + BigInt(bus) * 16n + 8n, entry[1]);
    }
    const aw = randomAw(random, capabilities);
    const types = [UNTRANSLATED_ONLY];
    if (ecap.DT === 1) types.push(ALL_TYPES, ALL_TYPES);
    if (ecap.PT === 1) types.push(PASS_THROUGH);
    const type = random.pick(types);
    const tables = type === PASS_THROUGH ? null : randomSecondStage(memory, capabilities, aw, ecap.SC === 1);
    const pointer = tables?.pointer ?? memory.hole();
    const faultProcessingDisable = random.chance(0.1) ? 2n : 0n;
    const context: [bigint, bigint] = [
      pointer | (type << 2n) | faultProcessingDisable | 1n,
      BigInt(aw) | randomField(random, 6, 3) | randomField(random, 7 + domainBits, 8),
    ];
    if (random.chance(0.12)) withDefects(memory, context);
    const address = table + BigInt(sid & 0xff) * 16n;
    words.set(address, context[0]);
    words.set(address + 8n, context[1]);
    return { sid, ridPasid: null, withoutPasid: { targets: tables?.targets ?? [] }, pasids: new Map() };
  });
}
