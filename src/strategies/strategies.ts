import * as layout from "../../assembly/layout.js";
import { IommuError } from "../engine/errors.js";

/** How a strategy chooses an IOVA, as the replay in WASM understands it (POLICY_*, ALIGN_* of assembly/layout.ts). */
export interface StrategyRule {
  readonly source: "recorded" | "allocate" | "identity";
  /** Alignment of an allocation: the granule, the next power of two of its length, or that capped by its address. */
  readonly align?: "granule" | "size" | "size-and-address";
  /** Largest alignment, log2. */
  readonly alignCap?: number;
  /** Congruent to the physical address modulo the largest leaf that pays. */
  readonly congruent?: boolean;
  readonly direction?: "top-down" | "bottom-up";
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
];

/** The strategy of this name. Throws `invalid`, naming the ones there are. */
export function findStrategy(name: string): Strategy {
  const found = strategies.find((strategy) => strategy.name === name);
  if (found) return found;
  const names = strategies.map((strategy) => strategy.name).join(", ");
  throw new IommuError("invalid", `use strategy "${name}"`, undefined, `the strategies are ${names}`);
}

/** The rule as the fields of a replay's setup. */
export function ruleFields(rule: StrategyRule): {
  policy: number;
  align: number;
  alignCap: number;
  congruent: number;
  direction: number;
} {
  const policies = {
    recorded: layout.POLICY_RECORDED,
    allocate: layout.POLICY_ALLOCATE,
    identity: layout.POLICY_IDENTITY,
  };
  const aligns = {
    granule: layout.ALIGN_GRANULE,
    size: layout.ALIGN_SIZE,
    "size-and-address": layout.ALIGN_SIZE_AND_ADDRESS,
  };
  return {
    policy: policies[rule.source],
    align: aligns[rule.align ?? "granule"],
    alignCap: rule.alignCap ?? 63,
    congruent: rule.congruent ? 1 : 0,
    direction: rule.direction === "bottom-up" ? layout.DIRECTION_BOTTOM_UP : layout.DIRECTION_TOP_DOWN,
  };
}
