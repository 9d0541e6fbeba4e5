/**
 * When a timer of Linux fires (kernel/time/timer.c, `calc_index`): the wheel's buckets are a jiffy wide for timers of
 * less than 63 jiffies and eight times as wide at every level after that, and a timer waits for the end of its bucket.
 * Where the jiffies lie in a trace's clock is not recorded; they are taken to begin with its zero.
 */
import { HZ, NEXT_DUE, NOW } from "./state";

const NANOSECONDS: u64 = 1_000_000_000;
const LEVEL_BITS: u64 = 3;
const FIRST_LEVEL_JIFFIES: u64 = 63;

/** Arms the timer whose time is kept at the address `due` (u64, nanoseconds) to fire so many milliseconds from now. */
export function timerArm(state: usize, due: usize, milliseconds: u64): void {
  const hz = <u64>load<u32>(state, HZ);
  const now = load<u64>(state, NOW);
  const jiffies = (now / NANOSECONDS) * hz + ((now % NANOSECONDS) * hz) / NANOSECONDS;
  const wait = (milliseconds * hz + 999) / 1000;
  let shift: u64 = 0;
  while (wait >= FIRST_LEVEL_JIFFIES << shift) shift += LEVEL_BITS;
  const expiry = (((jiffies + wait) >> shift) + 1) << shift;
  const at = (expiry / hz) * NANOSECONDS + ((expiry % hz) * NANOSECONDS + hz - 1) / hz;
  store<u64>(due, at);
  store<u64>(state, min<u64>(load<u64>(state, NEXT_DUE), at), NEXT_DUE);
}
