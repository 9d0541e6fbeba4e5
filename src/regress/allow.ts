/** Rules that let a figure change, `case/counter<=2%`. */
import { RegressError } from "./errors.js";

/** A change of figures that is allowed on purpose. */
export interface AllowRule {
  /** As it was written. */
  readonly text: string;
  readonly matches: (name: string, counter: string) => boolean;
  readonly permits: (before: number, after: number) => boolean;
}

/** A pattern in which `*` stands for anything. */
function matcher(pattern: string): (text: string) => boolean {
  const parts = pattern.split("*").map((part) => part.replace(/[\\^$.|?+()[\]{}]/g, "\\$&"));
  const expression = new RegExp(`^${parts.join(".*")}$`);
  return (text) => expression.test(text);
}

/**
 * Reads `CASE/COUNTER<=LIMIT`, the limit a number or a percentage of the figure before; `*` in a name stands for anything.
 * @throws RegressError `option`
 */
export function parseAllow(text: string): AllowRule {
  const found = /^([^/]+)\/(.+)<=(\d+(?:\.\d+)?)(%?)$/.exec(text);
  if (!found)
    throw new RegressError("option", `"${text}"`, "not a rule CASE/COUNTER<=NUMBER or CASE/COUNTER<=PERCENT%");
  const [, name, counter, limit, percent] = found;
  const [ofName, ofCounter] = [matcher(name), matcher(counter)];
  return {
    text,
    matches: (candidate, figure) => ofName(candidate) && ofCounter(figure),
    permits: (before, after) =>
      Math.abs(after - before) <= (percent === "%" ? (Number(limit) / 100) * Math.abs(before) : Number(limit)),
  };
}
