/** Names that users mistype. */
import { closestMatch } from "leven";

/** More wrong letters than these, or than a third of them, are no typo. */
const MOST_WRONG = 3;

/** ` (did you mean "…"?)` when one of the names is near, else nothing. */
export function suggestion(name: string, known: Iterable<string>): string {
  const maxDistance = Math.min(MOST_WRONG, Math.ceil(name.length / 3));
  const meant = closestMatch(name, [...known], { maxDistance });
  return meant === undefined ? "" : ` (did you mean "${meant}"?)`;
}
