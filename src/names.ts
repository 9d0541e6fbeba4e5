/** Names that users mistype. */
import { closestMatch } from "leven";

/** More wrong letters than these, or than this share of them, are no typo. Two letters exchanged are two wrong ones. */
const MOST_WRONG = 3;
const MOST_OF_ALL = 0.4;
/** Letters with which a name may be cut short. */
const SHORTEST_BEGINNING = 3;

/** ` (did you mean "…"?)` when one of the names is near, or begins so, else nothing. */
export function suggestion(name: string, known: Iterable<string>): string {
  const maxDistance = Math.min(MOST_WRONG, Math.floor(name.length * MOST_OF_ALL));
  const names = [...known];
  const meant =
    closestMatch(name, names, { maxDistance }) ??
    (name.length < SHORTEST_BEGINNING ? undefined : names.find((each) => each.startsWith(name)));
  return meant === undefined ? "" : ` (did you mean "${meant}"?)`;
}
