/** Traces in which there is nothing to replay, and what to do about it. */
import { TraceError } from "./errors.js";
import type { TraceStatistics } from "./reader.js";

const HOW_TO_RECORD =
  "Enable iommu:map, iommu:unmap and dma:*, as `trace-cmd record -e iommu:map -e iommu:unmap -e dma` does";

/**
 * Accepts a trace that has been read when it has a mapping.
 * @param incomplete why it ended before its end, if it did
 * @throws TraceError `no-mappings`: it is empty, has no iommu events, or none that was read; `gzip`: it ended before one
 */
export function requireMappings(statistics: TraceStatistics, source: string, incomplete: string | null = null): void {
  const { maps, lines, events, malformed } = statistics;
  if (maps > 0) return;
  if (incomplete !== null) throw new TraceError("gzip", incomplete);
  const file = source === "-" ? "standard input" : source;
  const refuse = (reason: string): never => {
    throw new TraceError("no-mappings", reason, { file });
  };
  if (statistics.bytes === 0) refuse("an empty file");
  if ((events.map ?? 0) > 0) refuse(`all ${events.map} iommu:map events are outside the window of time`);
  const named = Object.keys(events).slice(0, 4);
  const instead = named.length > 0 ? `events: ${named.join(", ")}` : `malformed: ${malformed}`;
  refuse(`no iommu:map events (lines: ${lines}, ${instead})\n${HOW_TO_RECORD}`);
}
