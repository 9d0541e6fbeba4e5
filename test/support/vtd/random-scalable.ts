import type { Capabilities } from "../../../src/vtd/capabilities.js";
import type { Random } from "../random.js";
import { randomAw, randomSecondStage, randomSids } from "./random-legacy.js";
import { type RandomMemory, randomBits, randomField } from "./random-memory.js";
import type { AddressSpace, Device } from "./random-requests.js";
import { RandomFirstStage, type RandomSecondStage, type Target } from "./random-tables.js";

const POINTER = ~0xfffn;

/** PGTT. */
const FIRST_STAGE = 0b001n;
const SECOND_STAGE = 0b010n;
const NESTED = 0b011n;
const PASS_THROUGH = 0b100n;

/** A PASID table entry, and what its tables map. */
interface PasidSpace extends AddressSpace {
  readonly words: readonly bigint[];
}

/** A bit above the host address width. */
function beyondHaw({ random, haw }: RandomMemory): bigint {
  return 1n << BigInt(haw + random.below(64 - haw));
}

function canonical(targets: readonly Target[], bits: number): readonly Target[] {
  return targets.map(({ address, size }) => ({ address: BigInt.asUintN(64, BigInt.asIntN(bits, address)), size }));
}

function supportedTypes({ ecap }: Capabilities): readonly bigint[] {
  const types: bigint[] = [];
  if (ecap.FSTS === 1) types.push(FIRST_STAGE, FIRST_STAGE);
  if (ecap.SSTS === 1) types.push(SECOND_STAGE, SECOND_STAGE);
  if (ecap.NEST === 1) types.push(NESTED, NESTED, NESTED);
  if (ecap.PT === 1) types.push(PASS_THROUGH);
  return types;
}

function randomSpace(memory: RandomMemory, capabilities: Capabilities): PasidSpace {
  const { random, haw } = memory;
  const { cap, ecap } = capabilities;
  const type = random.pick(supportedTypes(capabilities));
  const usesSecond = type === SECOND_STAGE || type === NESTED;
  const aw = usesSecond ? randomAw(random, capabilities) : random.below(8);
  const second: RandomSecondStage | null = usesSecond ? randomSecondStage(memory, capabilities, aw, true) : null;
  const fiveLevels = cap.FS5LP === 1 && random.chance(0.5);
  let targets: readonly Target[] = second?.targets ?? [];
  let firstPointer: bigint | null = null;
  if (type === FIRST_STAGE || type === NESTED) {
    const options = { levels: fiveLevels ? 5 : 4, pageSizes: capabilities.firstStagePageSizes };
    const first = new RandomFirstStage(memory, options, second);
    first.fill(10);
    firstPointer = first.pointer;
    targets = canonical(first.targets, first.inputBits);
  }

  let word0 = (second?.pointer ?? randomBits(random, haw, 12)) | (type << 6n) | (BigInt(aw) << 2n) | 1n;
  if (ecap.SSADS === 1) word0 |= randomField(random, 9);
  let word1 = randomField(random, 15, 0);
  if (ecap.SMPWCS === 1 && random.chance(0.9)) word1 |= 1n << 23n;
  if (ecap.SC === 1) word1 |= randomField(random, 24);
  if (ecap.MTS === 1) word1 |= randomField(random, 26, 25) | randomField(random, 63, 32);
  let word2 = (firstPointer ?? randomBits(random, haw, 12)) | randomField(random, 6, 4);
  if (fiveLevels) word2 |= 1n << 2n;
  if (ecap.SRS === 1 && random.chance(0.9)) word2 |= 1n;
  if (ecap.EAFS === 1) word2 |= randomField(random, 7);
  const words = [word0, word1, word2, 0n, 0n, 0n, 0n, 0n];
  if (random.chance(0.1)) words[0] |= 2n;
  if (random.chance(0.15)) damagePasidEntry(memory, words);
  return { words, targets };
}

function damagePasidEntry(memory: RandomMemory, words: bigint[]): void {
  const { random } = memory;
  switch (random.below(8)) {
    case 0:
      words[0] &= ~1n;
      break;
    case 1:
      words[0] ^= randomField(random, 8, 6);
      break;
    case 2:
      words[0] ^= randomField(random, 4, 2);
      break;
    case 3:
      words[2] ^= randomField(random, 3, 2);
      break;
    case 4:
      words[0] = (words[0] & ~POINTER) | memory.hole();
      break;
    case 5:
      words[2] = (words[2] & ~POINTER) | memory.hole();
      break;
    case 6:
      words[random.pick([0, 2])] |= beyondHaw(memory);
      break;
    default:
      words[random.below(8)] ^= 1n << BigInt(random.below(64));
  }
}

function damageContext(memory: RandomMemory, words: bigint[]): void {
  const { random } = memory;
  switch (random.below(6)) {
    case 0:
      words[0] &= ~1n;
      break;
    case 1:
      words[0] = (words[0] & ~POINTER) | memory.hole();
      break;
    case 2:
      words[0] |= random.pick([randomField(random, 8, 5), beyondHaw(memory)]);
      break;
    case 3:
      words[0] ^= 1n << BigInt(random.pick([2, 3, 4]));
      break;
    case 4:
      words[1] |= randomField(random, 19, 0);
      break;
    default:
      words[random.below(4)] ^= 1n << BigInt(random.below(64));
  }
}

/** A pointer with P and perhaps FPD, seldom one with a defect: a directory entry, or half of a root entry. */
function randomPointer(memory: RandomMemory, table: bigint, ignored: bigint, defects: number): bigint {
  const { random } = memory;
  if (!random.chance(defects)) return table | ignored | 1n;
  return random.pick([table | ignored, memory.hole() | 1n, table | beyondHaw(memory) | 1n, table | (1n << 5n) | 1n]);
}

/** The PASIDs a device uses: some neighbours, which share a PASID table, and some far apart. */
function randomPasids(random: Random, limit: number): readonly number[] {
  const first = random.below(limit);
  return [...new Set([first, first ^ random.below(64), random.below(limit), random.below(Math.min(limit, 128))])];
}

function makeDevice(
  memory: RandomMemory,
  capabilities: Capabilities,
  sid: number,
  context: bigint,
  spaces: readonly PasidSpace[],
): Device {
  const { random, words } = memory;
  const { ecap } = capabilities;
  const directorySize = random.below(8);
  const directory = memory.allocate(2 ** Math.max(directorySize - 2, 0));
  const limit = Math.min(2 ** (directorySize + 13), 2 ** (ecap.PSS + 1));
  const [ridPasid, ...others] = randomPasids(random, limit);
  const usedRidPasid = ecap.RPS === 1 ? ridPasid : 0;
  const pasids = new Map<number, PasidSpace>();
  const tables = new Map<number, bigint>();
  for (const pasid of [usedRidPasid, ...others]) {
    const space = random.pick(spaces);
    pasids.set(pasid, space);
    let table = tables.get(pasid >> 6);
    if (table === undefined) {
      table = memory.allocate();
      tables.set(pasid >> 6, table);
      const faultProcessingDisable = random.chance(0.05) ? 2n : 0n;
      words.set(directory + BigInt(pasid >> 6) * 8n, randomPointer(memory, table, faultProcessingDisable, 0.05));
    }
    for (const [index, word] of space.words.entries()) {
      words.set(table + BigInt(pasid & 63) * 64n + BigInt(8 * index), word);
    }
  }

  const entry = [directory | (BigInt(directorySize) << 9n) | 1n, BigInt(ridPasid), 0n, 0n];
  if (ecap.DT === 1 && random.chance(0.96)) entry[0] |= (1n << 2n) | (ecap.PRS === 1 ? randomField(random, 4) : 0n);
  if (ecap.PASID === 1 && random.chance(0.96)) entry[0] |= 1n << 3n;
  if (ecap.RPRIVS === 1 && random.chance(0.3)) entry[1] |= 1n << 20n;
  if (random.chance(0.06)) entry[0] |= 2n;
  if (random.chance(0.09)) damageContext(memory, entry);
  for (const [index, word] of entry.entries()) words.set(context + BigInt(8 * index), word);
  const withoutPasid = pasids.get(usedRidPasid) ?? { targets: [] };
  pasids.delete(usedRidPasid);
  return { sid, ridPasid: usedRidPasid, withoutPasid, pasids };
}

/** Fills a scalable-mode root table and what hangs from it. */
export function makeScalableDevices(memory: RandomMemory, capabilities: Capabilities, root: bigint): readonly Device[] {
  const { random, words } = memory;
  const spaces = Array.from({ length: 3 }, () => randomSpace(memory, capabilities));
  const contextTables = new Map<number, bigint>();
  return randomSids(random).map((sid) => {
    const half = sid >> 7;
    let table = contextTables.get(half);
    if (table === undefined) {
      table = memory.allocate();
      contextTables.set(half, table);
      words.set(root + BigInt(half) * 8n, randomPointer(memory, table, 0n, 0.03));
    }
    return makeDevice(memory, capabilities, sid, table + BigInt(sid & 0x7f) * 32n, spaces);
  });
}
