/** What one contender of one case has prepared: the harness calls it again and again. */
export interface Workload {
  /** Operations (walks, leaves, allocations) of one call. */
  readonly operationsPerCall: number;
  /** Does the next chunk of the prepared input. */
  call(): void;
  /** Where the timed part is not all of a call: nanoseconds spent in it so far. */
  timed?(): number;
  /** Does all of the input once and returns the checksum of the results. Comes before the first call. */
  check(): number;
}

/** Nanoseconds since an arbitrary moment. */
export function nanoseconds(): number {
  return performance.now() * 1e6;
}
