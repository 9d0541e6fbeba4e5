/** Progress on stderr, when that is a terminal: of what takes longer than a second. */
import progress, { type Options } from "cli-progress";
import { significant } from "../report/units.js";

const QUIET_MILLISECONDS = 1000;

const BAR: Options = {
  stream: process.stderr,
  clearOnComplete: true,
  hideCursor: true,
  barsize: 30,
  autopaddingChar: " ",
};

export interface ProgressOptions {
  /** What goes on, such as `reading`. */
  readonly doing: string;
  /** What is counted, such as `MB`. */
  readonly unit: string;
  /** How much there is to do; null when nobody knows. */
  readonly total: number | null;
}

/** A bar with a rate and the time to go; without a total, how much is done and the rate. */
export class Progress {
  readonly #bar: progress.SingleBar | null;
  readonly #total: number | null;
  readonly #begin = performance.now();
  #shown = false;

  constructor({ doing, unit, total }: ProgressOptions) {
    const format =
      total === null
        ? `${doing} {value} ${unit}, {rate} ${unit}/s`
        : `${doing} [{bar}] {percentage} %, {rate} ${unit}/s, {left} to go`;
    this.#total = total;
    this.#bar = process.stderr.isTTY ? new progress.SingleBar({ ...BAR, format }) : null;
  }

  /** @param done so far, of the total */
  update(done: number): void {
    if (this.#bar === null) return;
    const seconds = (performance.now() - this.#begin) / 1000;
    const rate = done / seconds;
    // The bar's own estimate knows nothing of the time before it was shown.
    const left = this.#total === null || done === 0 ? 0 : Math.ceil((this.#total - done) / rate);
    const payload = { rate: significant(rate), left: progress.Format.TimeFormat(left, BAR, 1) };
    const value = Math.round(done);
    if (this.#shown) this.#bar.update(value, payload);
    else if (seconds * 1000 >= QUIET_MILLISECONDS) {
      this.#bar.start(Math.max(1, Math.round(this.#total ?? 1)), value, payload);
      this.#shown = true;
    }
  }

  stop(): void {
    if (this.#shown) this.#bar?.stop();
  }
}
