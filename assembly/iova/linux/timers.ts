/**
 * When a timer of Linux fires (kernel/time/timer.c, `calc_index`): the wheel's buckets are a jiffy wide for timers of
 * less than 63 jiffies and eight times as wide at every level after that, and a timer waits for the end of its bucket.
 * Where the jiffies lie in a trace's clock is not recorded; they are taken to begin with its zero.
 */
import { HZ, NOW } from "./state";

const NANOSECONDS: u64 = 1_000_000_000;
const LEVEL_BITS: u64 = 3;
const FIRST_LEVEL_JIFFIES: u64 = 63;

/** Whole jiffies at a time in nanoseconds. */
export function jiffiesAt(state: usize, nanoseconds: u64): u64 {
  const hz = <u64>load<u32>(state, HZ);
  return (nanoseconds / NANOSECONDS) * hz + ((nanoseconds % NANOSECONDS) * hz) / NANOSECONDS;
}

/** When a timer armed now for so many milliseconds fires, in jiffies. */
export function timerAfter(state: usize, milliseconds: u64): u64 {
  const wait = (milliseconds * <u64>load<u32>(state, HZ) + 999) / 1000;
  let shift: u64 = 0;
  while (wait >= FIRST_LEVEL_JIFFIES << shift) shift += LEVEL_BITS;
  return (((load<u64>(state, NOW) + wait) >> shift) + 1) << shift;
}
