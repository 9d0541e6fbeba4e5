import * as layout from "../../assembly/layout.js";
import { UnknownNameError } from "../engine/errors.js";
import { alignmentBounds, FLUSHES, type LinuxIovaOptions, MOST_ALIGNMENT } from "../engine/linux-iova.js";

/** How a strategy chooses an IOVA, as the replay in WASM understands it (POLICY_*, ALIGN_* of assembly/layout.ts). */
export interface StrategyRule {
  readonly source: "recorded" | "allocate" | "identity" | "linux";
  /** Alignment of an allocation: the granule, the next power of two of its length, or that capped by its address. */
  readonly align?: "granule" | "size" | "size-and-address";
  /** Largest alignment, log2. */
  readonly alignCap?: number;
  /** Congruent to the physical address modulo the largest leaf that pays, as far as a placement leaves that open. */
  readonly congruent?: boolean;
  readonly direction?: "top-down" | "bottom-up";
  /** What looks at each mapping by itself before the replay (placer.ts) and leaves to the replay only where there is room. */
  readonly placement?: "va-congruent" | "hinted" | "joint" | "ring-contiguous";
  /** Of Linux's allocator, `size` and `strict` unless given. */
  readonly linux?: Pick<LinuxIovaOptions, "alignment" | "flush">;
}

/** A named policy that chooses an IOVA for a mapping. */
export interface Strategy {
  readonly name: string;
  /** One line for people. */
  readonly summary: string;
  readonly rule: StrategyRule;
}

/** Every strategy, in the order in which they are compared. */
export const strategies: readonly Strategy[] = [
  {
    name: "as-recorded",
    summary: "the trace's own addresses",
    rule: { source: "recorded" },
  },
  {
    name: "size-aligned",
    summary: "aligned to the length's next power of two, from the top down",
    rule: { source: "allocate", align: "size", direction: "top-down" },
  },
  {
    name: "no-align",
    summary: "no alignment above the granule, from the top down",
    rule: { source: "allocate", align: "granule", direction: "top-down" },
  },
  {
    name: "pa-congruent",
    summary: "IOVA = PA modulo the largest leaf that pays, from the top down",
    rule: { source: "allocate", congruent: true, direction: "top-down" },
  },
  {
    // Linux drivers/iommu/iommufd/io_pagetable.c, iopt_alloc_iova: min(roundup_pow2(length), lowest bit of the user's
    // address), capped at the huge-page size. A trace has no user address; the first physical address stands in for it,
    // which has the same low bits wherever the kernel backs the buffer with huge pages.
    name: "iommufd",
    summary: "lowest hole, aligned to the length or to the buffer's own alignment, at most 2 MiB",
    rule: { source: "allocate", align: "size-and-address", alignCap: 21, direction: "bottom-up" },
  },
  {
    name: "identity",
    summary: "IOVA = PA; a page that two mappings share is mapped once",
    rule: { source: "identity" },
  },
  {
    name: "va-congruent",
    summary: "IOVA = VA modulo the importer's largest page (needs --importer)",
    rule: { source: "allocate", placement: "va-congruent" },
  },
  {
    name: "hinted",
    summary: "what the importer's hint asks for; what it leaves open as pa-congruent (needs --importer)",
    rule: { source: "allocate", placement: "hinted", congruent: true },
  },
  {
    name: "joint",
    summary: "lowest score of IOMMU leaves, importer entries and IOVA space (needs --importer)",
    rule: { source: "allocate", placement: "joint" },
  },
  {
    name: "ring-contiguous",
    summary: "one contiguous chunk of 256 KiB after the other for what a CPU maps in a domain",
    rule: { source: "allocate", placement: "ring-contiguous" },
  },
  {
    name: "linux",
    summary: "Linux's own allocator: size-aligned, below 4 GiB first, freed ranges from per-CPU caches",
    rule: { source: "linux" },
  },
  {
    name: "linux-lazy",
    summary: "linux, with unmapped ranges free after an IOTLB flush only (iommu.strict=0)",
    rule: { source: "linux", linux: { flush: "lazy" } },
  },
  {
    name: "linux-noalign",
    summary: "linux, with nothing aligned above the granule",
    rule: { source: "linux", linux: { alignment: "none" } },
  },
  {
    name: "linux-pmd",
    summary: "linux, with everything aligned to 2 MiB",
    rule: { source: "linux", linux: { alignment: "pmd" } },
  },
  {
    name: "linux-pud",
    summary: "linux, with everything aligned to 1 GiB",
    rule: { source: "linux", linux: { alignment: "pud" } },
  },
];

/** Whether a strategy asks an importer. */
export function asksImporter({ rule }: Strategy): boolean {
  return rule.placement !== undefined && rule.placement !== "ring-contiguous";
}

/** Traces and replays count 4 KiB pages. */
const GRANULE_SHIFT = 12;
const MAX_ALIGN_SHIFT = "linux:max-align-shift=";

/** Names and summaries of every strategy that there is a name for, as people are told them. */
export const strategyNames: readonly Pick<Strategy, "name" | "summary">[] = [
  ...strategies,
  {
    name: `${MAX_ALIGN_SHIFT}N`,
    summary: "linux, aligned to the size but to at most 2^N pages (iommu.max_align_shift)",
  },
];

/** `linux:max-align-shift=N`; null for any other name and for no alignment of an address. */
function maxAlignShift(name: string): Strategy | null {
  const digits = name.startsWith(MAX_ALIGN_SHIFT) ? name.slice(MAX_ALIGN_SHIFT.length) : "";
  const maxShift = Number(digits);
  if (!/^\d+$/.test(digits) || maxShift > MOST_ALIGNMENT) return null;
  const summary = `linux, aligned to the size but to at most ${2 ** maxShift} pages`;
  return {
    name: `${MAX_ALIGN_SHIFT}${maxShift}`,
    summary,
    rule: { source: "linux", linux: { alignment: { maxShift } } },
  };
}

/** The strategy of this name. Throws `invalid`, naming the ones there are. */
export function findStrategy(name: string): Strategy {
  const found = strategies.find((strategy) => strategy.name === name) ?? maxAlignShift(name);
  if (found) return found;
  const names = strategyNames.map((strategy) => strategy.name);
  throw new UnknownNameError("strategy", "strategies", name, names);
}

/** The rule as the fields of a replay's setup. */
export function ruleFields(rule: StrategyRule): {
  policy: number;
  align: number;
  alignCap: number;
  congruent: number;
  direction: number;
  leastAlignment: number;
  mostAlignment: number;
  flush: number;
} {
  const policies = {
    recorded: layout.POLICY_RECORDED,
    allocate: layout.POLICY_ALLOCATE,
    identity: layout.POLICY_IDENTITY,
    linux: layout.POLICY_LINUX,
  };
  const aligns = {
    granule: layout.ALIGN_GRANULE,
    size: layout.ALIGN_SIZE,
    "size-and-address": layout.ALIGN_SIZE_AND_ADDRESS,
  };
  const [leastAlignment, mostAlignment] = alignmentBounds(rule.linux?.alignment ?? "size", GRANULE_SHIFT);
  return {
    policy: policies[rule.source],
    align: aligns[rule.align ?? "granule"],
    alignCap: rule.alignCap ?? 63,
    congruent: rule.congruent ? 1 : 0,
    direction: rule.direction === "bottom-up" ? layout.DIRECTION_BOTTOM_UP : layout.DIRECTION_TOP_DOWN,
    leastAlignment,
    mostAlignment,
    flush: FLUSHES[rule.linux?.flush ?? "strict"],
  };
}
