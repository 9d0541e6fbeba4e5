/**
 * The registers of an SMMU's Non-secure programming interface: where they are and which of their bits software may write.
 * Arm SMMU Architecture Specification version 3 (IHI 0070 G.b), section 6.3. Registers for address translation operations,
 * MPAM, device permission tables, enhanced Command queues, performance monitors and other Security states are not emulated:
 * their places read as zero. What resets to an unknown value resets to zero.
 */
import type { PlacedRegister } from "../unit/register-space.js";
import { IDENTIFICATION_REGISTERS, type Identification } from "./identification.js";
import { GERROR, IRQ_CTRL } from "./notifications.js";

/** Bits of a register that cannot be written while one of some enable bits is set. */
export interface Guard {
  readonly mask: bigint;
  readonly register: "CR0" | "IRQ_CTRL";
  readonly enables: bigint;
}

/** One register, by the specification's name without "SMMU_". A bit that is not in `readWrite` is read-only. */
export interface RegisterDescription extends PlacedRegister {
  /** Bits that read as they were written, while no guard holds. */
  readonly readWrite: bigint;
  readonly guards: readonly Guard[];
}

/** Two pages of 64 KiB (section 6.1). */
export const REGISTER_BYTES = 0x2_0000;

/** SMMU_CR0, section 6.3.9. */
export const CR0 = {
  SMMUEN: 1n << 0n,
  PRIQEN: 1n << 1n,
  EVENTQEN: 1n << 2n,
  CMDQEN: 1n << 3n,
  ATSCHK: 1n << 4n,
  VMW: 0x7n << 6n,
} as const;

/** SMMU_CR2, section 6.3.12. */
export const CR2 = { E2H: 1n << 0n, RECINVSID: 1n << 1n, PTM: 1n << 2n, REC_CFG_ATS: 1n << 3n } as const;

/** SMMU_GBPA, section 6.3.14. */
export const GBPA = { ABORT: 1n << 20n, Update: 1n << 31n } as const;

/** SMMU_CR1, section 6.3.11: TABLE_* in bits 11:6, QUEUE_* in bits 5:0. */
const CR1_TABLE = 0xfc0n;
const CR1_QUEUE = 0x3fn;

/** MemAttr, MTCFG, ALLOCCFG, SHCFG, PRIVCFG, INSTCFG and ABORT. */
const GBPA_ATTRIBUTES = 0x1f_3f1fn;
/** SHCFG 01b, use incoming: nothing is overridden after reset. */
const GBPA_RESET = 0x1000n;

/** SMMU_STRTAB_BASE_CFG, section 6.3.25. */
const STRTAB_LOG2SIZE = 0x3fn;
const STRTAB_SPLIT_FMT = 0x3_07c0n;

/** RA of SMMU_STRTAB_BASE and SMMU_CMDQ_BASE, WA of the others. */
const ALLOCATE = 1n << 62n;
const QUEUE_LOG2SIZE = 0x1fn;

/** Index with its wrap flag; OVFLG and OVACKFLG. */
const INDEX = 0xf_ffffn;
const OVERFLOW_FLAG = 1n << 31n;

/** SH and MemAttr of SMMU_*_IRQ_CFG2; LO of SMMU_PRIQ_IRQ_CFG2 (section 6.3.36). */
const MESSAGE_ATTRIBUTES = 0x3fn;
export const PRIQ_LO = 1n << 31n;

interface RowOptions {
  readonly readWrite?: bigint;
  readonly guards?: readonly Guard[];
  readonly reset?: bigint;
}

type Row = readonly [offset: number, name: string, width: 32 | 64, options?: RowOptions, present?: boolean];

/** The whole register cannot be written while any of these bits of SMMU_CR0 is set. */
function whileDisabled(enables: bigint): readonly Guard[] {
  return [{ mask: (1n << 64n) - 1n, register: "CR0", enables }];
}

/** Bits `low` to OAS - 1 of an address; those above are not stored. */
function address({ oasBits }: Identification, low: number): bigint {
  return (1n << BigInt(oasBits)) - (1n << BigInt(low));
}

/** Address, data and attributes of the message of an interrupt source. */
function messageRows(offset: number, source: keyof typeof IRQ_CTRL, identification: Identification): readonly Row[] {
  const { MSI, PRI } = identification.idr0;
  const isPriQueue = source === "PRIQ";
  const present = !isPriQueue || PRI === 1;
  const guards: readonly Guard[] = [
    { mask: (1n << 64n) - 1n, register: "IRQ_CTRL", enables: BigInt(IRQ_CTRL[source]) },
  ];
  const attributes = (MSI === 1 ? MESSAGE_ATTRIBUTES : 0n) | (isPriQueue ? PRIQ_LO : 0n);
  return [
    [offset, `${source}_IRQ_CFG0`, 64, { readWrite: address(identification, 2), guards }, present && MSI === 1],
    [offset + 8, `${source}_IRQ_CFG1`, 32, { readWrite: 0xffff_ffffn, guards }, present && MSI === 1],
    [offset + 12, `${source}_IRQ_CFG2`, 32, { readWrite: attributes, guards }, present && (MSI === 1 || isPriQueue)],
  ];
}

/** Errors that a unit can report. */
function globalErrors({ idr0: { MSI, PRI } }: Identification): bigint {
  const messages = GERROR.MSI_CMDQ_ABT_ERR | GERROR.MSI_EVENTQ_ABT_ERR | GERROR.MSI_GERROR_ABT_ERR;
  return BigInt(
    GERROR.CMDQ_ERR |
      GERROR.EVENTQ_ABT_ERR |
      GERROR.SFM_ERR |
      (PRI ? GERROR.PRIQ_ABT_ERR : 0) |
      (MSI ? messages : 0) |
      (MSI && PRI ? GERROR.MSI_PRIQ_ABT_ERR : 0),
  );
}

function rows(identification: Identification): readonly Row[] {
  const { idr0, idr1, registers } = identification;
  const PRI = idr0.PRI === 1;
  const cr0 =
    CR0.SMMUEN |
    CR0.EVENTQEN |
    CR0.CMDQEN |
    (PRI ? CR0.PRIQEN : 0n) |
    (idr0.ATS ? CR0.ATSCHK : 0n) |
    (idr0.VMW ? CR0.VMW : 0n);
  const tables = idr1.TABLES_PRESET ? 0n : CR1_TABLE;
  const queues = idr1.QUEUES_PRESET ? 0n : CR1_QUEUE;
  const cr1Guards: readonly Guard[] = [
    { mask: CR1_TABLE, register: "CR0", enables: CR0.SMMUEN },
    { mask: CR1_QUEUE, register: "CR0", enables: CR0.EVENTQEN | CR0.PRIQEN | CR0.CMDQEN },
  ];
  const cr2 = CR2.RECINVSID | CR2.PTM | (idr0.Hyp ? CR2.E2H : 0n) | (idr0.ATSRECERR ? CR2.REC_CFG_ATS : 0n);
  const streamTable = idr1.TABLES_PRESET ? 0n : ALLOCATE | address(identification, 6);
  const streamTableFormat = idr1.TABLES_PRESET ? 0n : STRTAB_LOG2SIZE | (idr0.ST_LEVEL ? STRTAB_SPLIT_FMT : 0n);
  const queueBase = idr1.QUEUES_PRESET ? 0n : ALLOCATE | address(identification, 5) | QUEUE_LOG2SIZE;
  const interrupts = BigInt(IRQ_CTRL.GERROR | IRQ_CTRL.EVENTQ | (PRI ? IRQ_CTRL.PRIQ : 0));
  return [
    ...IDENTIFICATION_REGISTERS.map((name, i): Row => [4 * i, name, 32, { reset: registers[name] }]),
    [0x020, "CR0", 32, { readWrite: cr0 }],
    [0x024, "CR0ACK", 32],
    [0x028, "CR1", 32, { readWrite: tables | queues, guards: cr1Guards }],
    [0x02c, "CR2", 32, { readWrite: cr2, guards: whileDisabled(CR0.SMMUEN) }],
    [0x040, "STATUSR", 32],
    [0x044, "GBPA", 32, { readWrite: GBPA_ATTRIBUTES | GBPA.Update, reset: GBPA_RESET }],
    [0x050, "IRQ_CTRL", 32, { readWrite: interrupts }],
    [0x054, "IRQ_CTRLACK", 32],
    [0x060, "GERROR", 32],
    [0x064, "GERRORN", 32, { readWrite: globalErrors(identification) }],
    ...messageRows(0x068, "GERROR", identification),
    [0x080, "STRTAB_BASE", 64, { readWrite: streamTable, guards: whileDisabled(CR0.SMMUEN) }],
    [0x088, "STRTAB_BASE_CFG", 32, { readWrite: streamTableFormat, guards: whileDisabled(CR0.SMMUEN) }],
    [0x090, "CMDQ_BASE", 64, { readWrite: queueBase, guards: whileDisabled(CR0.CMDQEN) }],
    [0x098, "CMDQ_PROD", 32, { readWrite: INDEX }],
    [0x09c, "CMDQ_CONS", 32, { readWrite: INDEX, guards: whileDisabled(CR0.CMDQEN) }],
    [0x0a0, "EVENTQ_BASE", 64, { readWrite: queueBase, guards: whileDisabled(CR0.EVENTQEN) }],
    ...messageRows(0x0b0, "EVENTQ", identification),
    [0x0c0, "PRIQ_BASE", 64, { readWrite: queueBase, guards: whileDisabled(CR0.PRIQEN) }, PRI],
    ...messageRows(0x0d0, "PRIQ", identification),
    [0x100a8, "EVENTQ_PROD", 32, { readWrite: OVERFLOW_FLAG | INDEX, guards: whileDisabled(CR0.EVENTQEN) }],
    [0x100ac, "EVENTQ_CONS", 32, { readWrite: OVERFLOW_FLAG | INDEX }],
    [0x100c8, "PRIQ_PROD", 32, { readWrite: OVERFLOW_FLAG | INDEX, guards: whileDisabled(CR0.PRIQEN) }, PRI],
    [0x100cc, "PRIQ_CONS", 32, { readWrite: OVERFLOW_FLAG | INDEX }, PRI],
  ];
}

/** Every register of a unit, also those that it lacks. */
export function describeRegisters(identification: Identification): readonly RegisterDescription[] {
  return rows(identification).map(([offset, name, width, options = {}, present = true]) => {
    const { readWrite = 0n, guards = [], reset = 0n } = options;
    return { name, offset, width, readWrite, guards, reset, present };
  });
}

/** Names of a unit's registers by offset, for reports. */
export function registerNames(identification: Identification): ReadonlyMap<number, string> {
  const present = describeRegisters(identification).filter((register) => register.present);
  return new Map(present.map(({ offset, name }) => [offset, name]));
}
