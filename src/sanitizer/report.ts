/** Stale accesses as text. */
import { hex } from "../engine/addresses.js";
import type { Mistake } from "./cause.js";
import type { Moment } from "./history.js";
import type { StaleAccess } from "./sanitizer.js";

const MISTAKES: Readonly<Record<Mistake, string>> = {
  forgotten: "no invalidation was given",
  late: "the invalidation came too late",
  "before-unmap": "the invalidation came before the unmap",
  "before-configuration": "the invalidation came before that of the cached configuration",
  "wrong-domain": "the invalidation names another domain",
  "wrong-pasid": "the invalidation names another PASID",
  "wrong-asid": "the invalidation names another ASID",
  "wrong-vmid": "the invalidation names another VMID",
  "wrong-stage": "the invalidation is for another stage",
  "global-entry": "the translation is global, and an invalidation by ASID leaves those",
  "range-too-small": "the invalidation does not reach this page",
  "leaf-only": "the invalidation is for leaves only, but a table page was freed",
  "shared-tag": "another table's translations bear the same tag",
  "not-waited-for": "nobody waited for the invalidation",
  "lazy-window": "the flush queue had not flushed yet",
  "reused-before-flush": "the address was given out again before the flush queue flushed",
  configuration: "a cached configuration was not invalidated",
  "device-tlb": "the device's TLB was not invalidated",
};

function when({ operation, time }: Moment): string {
  return time === null ? `operation ${operation}` : `operation ${operation}, time ${time}`;
}

/** Some lines about one access; `name` says whose source it is. */
export function staleAccessText(stale: StaleAccess, name: (source: number) => string): string {
  const { source, pasid, iova, access, physical, now, from, operation, change, invalidation, cache, mistake } = stale;
  const verb = access.write ? "wrote to" : "read from";
  const who = pasid === null ? name(source) : `${name(source)} PASID ${pasid}`;
  const ago = change ? operation - change.operation : 0;
  const window = `, ${ago} operation${ago === 1 ? "" : "s"} before the access`;
  return [
    `stale DMA: ${who} ${verb} ${hex(iova)} and reached ${hex(physical)} by its ${from}`,
    `  ${change ? `${change.kind} at ${when(change)}${window}` : "changed by nobody who was seen"}; now ${now === null ? "not mapped" : hex(now)}`,
    `  ${MISTAKES[mistake]}${cache === null ? "" : `: ${cache}`}${invalidation ? `: ${invalidation.text} at ${when(invalidation)}` : ""}`,
  ].join("\n");
}
