/** One request of a unit, every case: from the IOTLB as long as a translation is there, otherwise by a walk. */
import { iotlbOwner } from "../cache/iotlb";
import { dispatch } from "../format/formats";
import {
  ACCESS_EXECUTE,
  ACCESS_PRIVILEGED,
  ACCESS_READ,
  ACCESS_WRITE,
  GRANT_PRIVILEGED_SHIFT,
  GRANT_WRITE,
  INTERRUPT_FIRST,
  REGIME_FLAGS,
  REGIME_LAST,
  REGIME_LIMITS_INPUT,
  REGIME_LOWER_IGNORES_TOP_BYTE,
  REGIME_LOWER_UNPRIVILEGED_DISABLED,
  REGIME_OWNER,
  REGIME_REFUSED_SPAN,
  REGIME_REFUSES_EXECUTE,
  REGIME_REFUSES_PRIVILEGED,
  REGIME_TABLE,
  REGIME_TAG,
  REGIME_TWO_HALVES,
  REGIME_UPPER_IGNORES_TOP_BYTE,
  REGIME_UPPER_TABLE,
  REGIME_UPPER_UNPRIVILEGED_DISABLED,
  REGIME_WALK_TAGS,
  SIMULATOR_CONFIGURATION_FIRST,
  STALE_FROM_IOTLB,
  STALE_FROM_STRUCTURES,
  STALE_FROM_WALK,
  TABLE_FORMAT,
  TABLE_INPUT_LAST,
  TABLE_INTERMEDIATE,
  TABLE_SECOND_STAGE,
  TABLE_WHERE,
  UNIT_BEYOND,
  UNIT_CACHES,
  UNIT_ENTRIES_READ,
  UNIT_EXECUTE,
  UNIT_INTERRUPT_RANGE,
  UNIT_IOTLB_HITS,
  UNIT_IOTLB_LOOKUPS,
  UNIT_PRIVILEGED,
  WALK_INPUT_RANGE,
  WALK_NO_EXECUTE,
  WALK_NO_READ,
  WALK_NO_USER,
  WALK_NO_WRITE,
  WALK_OK,
  WALK_OUTCOME_MASK,
  WALK_READS_SHIFT,
  WALK_ROOT_ACCESS,
  WALK_SECOND_STAGE_OUTPUT,
  WALK_SECOND_STAGE_TABLE,
  WALK_SIZE_SHIFT,
  WALK_TABLE_ACCESS,
  WALK_UPDATE_FAILED,
  WALK_UPDATE_REFUSED,
} from "../layout";
import { count } from "../table/table";
import { statusWord, walkClean, walkGlobal, walkGrants, walkPrecisely, walkRehearses } from "../table/walk";
import { walkBelieved, walkThroughCaches } from "../table/walk-caches";
import { accessInForce } from "./access";
import { configurationUse } from "./configuration";
import { heldClean, heldDrop, heldFind, heldGrants, heldKeep, heldOwner, heldPhysical, heldShift } from "./held";

/** What the last request that `translateSlowly` made was allowed (GRANT_*): for translation requests (ATS, PCIe). */
let lastGrants: u32 = 0;

export function unitLastGrants(): u32 {
  return lastGrants;
}

// @ts-ignore: decorator
@inline
export function needed(access: u32): u32 {
  const bits = (access & <u32>(ACCESS_READ | ACCESS_WRITE)) | ((access & <u32>ACCESS_EXECUTE) >> 1);
  return access & <u32>ACCESS_PRIVILEGED ? bits << <u32>GRANT_PRIVILEGED_SHIFT : bits;
}

/** Which check a cached translation fails. */
function missing(grants: u32, access: u32): u32 {
  const privileged = (access & <u32>ACCESS_PRIVILEGED) != 0;
  const need = needed(access & ~(<u32>ACCESS_PRIVILEGED));
  const have = privileged ? grants >> <u32>GRANT_PRIVILEGED_SHIFT : grants;
  if (!(need & ~have)) return WALK_OK;
  // Nothing at all is granted to users: the page is for privileged requesters.
  if (!privileged && !(grants & <u32>((1 << GRANT_PRIVILEGED_SHIFT) - 1))) return WALK_NO_USER;
  if (need & ~have & <u32>GRANT_WRITE) return WALK_NO_WRITE;
  return access & <u32>ACCESS_EXECUTE ? WALK_NO_EXECUTE : WALK_NO_READ;
}

@unmanaged
class Walk {
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 {
    return walkPrecisely<F>(a, load<u64>(b), <u32>c, d);
  }
}

/** The input address of `Walk`. */
const input = memory.data(8, 16);

/**
 * Walks precisely. Returns the status word and stores the physical address at `result`; on a fault the address of the entry
 * that could not be read or used, or when the second stage does not translate an address, that address.
 */
function walk(table: usize, iova: u64, access: u32, result: usize): u32 {
  store<u64>(input, iova);
  const status = <u32>dispatch<Walk>(load<u32>(table, TABLE_FORMAT), table, input, <usize>access, result);
  const outcome = status & <u32>WALK_OUTCOME_MASK;
  if (outcome && status & <u32>(WALK_SECOND_STAGE_OUTPUT | WALK_SECOND_STAGE_TABLE)) {
    const ofEntry = outcome == WALK_ROOT_ACCESS || outcome == WALK_TABLE_ACCESS || outcome == WALK_UPDATE_FAILED;
    const second = <usize>load<u32>(table, TABLE_SECOND_STAGE);
    store<u64>(result, ofEntry ? load<u64>(second, TABLE_WHERE) : load<u64>(table, TABLE_INTERMEDIATE));
  }
  return status;
}

/** What `walk` would find in memory as it is, whatever is cached. Nothing is changed, cached or counted. */
export function rehearse(table: usize, iova: u64, access: u32, result: usize): u32 {
  walkRehearses(true);
  const status = walk(table, iova, access, result);
  walkRehearses(false);
  return status;
}

/**
 * The status word for an access that a cached translation does not permit, `outcome` by its rights. A translation of two
 * stages does not tell which of them denies the access, and where: memory does. Where the tables would permit it by now,
 * the cached translation is what counts, because nobody has invalidated it.
 */
function deny(table: usize, iova: u64, access: u32, outcome: u32, result: usize): u32 {
  if (!load<u32>(table, TABLE_SECOND_STAGE)) return outcome;
  const status = rehearse(table, iova, access, result);
  const walked = status & <u32>WALK_OUTCOME_MASK;
  return walked && walked != WALK_UPDATE_REFUSED ? status : outcome;
}

/** What `route` found: the table (0: the address passes), what it is walked for, and what that leaves out of the address. */
export let routedTable: usize = 0;
export let routedAddress: u64 = 0;
let routedHalf: u64 = 0;

/** The table of a regime that an address goes through, or the outcome of a request that goes through none. */
export function route(regime: usize, iova: u64, access: u32): u32 {
  const flags = load<u32>(regime, REGIME_FLAGS);
  if (access & <u32>ACCESS_EXECUTE && flags & <u32>REGIME_REFUSES_EXECUTE) return UNIT_EXECUTE;
  if (access & <u32>ACCESS_PRIVILEGED && flags & <u32>REGIME_REFUSES_PRIVILEGED) return UNIT_PRIVILEGED;
  routedTable = <usize>load<u32>(regime, REGIME_TABLE);
  routedAddress = iova;
  routedHalf = 0;
  if (flags & <u32>REGIME_LIMITS_INPUT && iova > load<u64>(regime, REGIME_LAST)) return UNIT_BEYOND;
  if (flags & <u32>REGIME_TWO_HALVES) {
    const upper = ((iova >> 55) & 1) != 0;
    const ignoresTopByte = flags & <u32>(upper ? REGIME_UPPER_IGNORES_TOP_BYTE : REGIME_LOWER_IGNORES_TOP_BYTE);
    if (ignoresTopByte) routedAddress = <u64>(<i64>(iova << 8) >> 8);
    if (upper) routedTable = <usize>load<u32>(regime, REGIME_UPPER_TABLE);
    if (!routedTable) return WALK_INPUT_RANGE;
    const disabled = flags & <u32>(upper ? REGIME_UPPER_UNPRIVILEGED_DISABLED : REGIME_LOWER_UNPRIVILEGED_DISABLED);
    if (disabled && !(access & <u32>ACCESS_PRIVILEGED)) return WALK_INPUT_RANGE;
    if (upper) {
      // An address of the upper half without its sign.
      const last = load<u64>(routedTable, TABLE_INPUT_LAST);
      if (~routedAddress > last) return WALK_INPUT_RANGE;
      routedHalf = routedAddress & ~last;
      routedAddress &= last;
    }
  }
  if (!routedTable) {
    if (iova > load<u64>(regime, REGIME_LAST)) return UNIT_BEYOND;
    if (iova - <u64>INTERRUPT_FIRST < load<u64>(regime, REGIME_REFUSED_SPAN)) return UNIT_INTERRUPT_RANGE;
  }
  return WALK_OK;
}

/** What the last request that `translateSlowly` made was translated by (STALE_FROM_*), and whose that was. */
export let answeredFrom: u32 = 0;
export let answeredOwner: u64 = 0;

/** No status word: the request needs an entry that is not cached any more, and nothing has happened. */
export const UNRESOLVED: u32 = 0xffffffff;

/**
 * One request, every case. Returns the status word and stores the physical address, or where it failed, at `result`; or
 * UNRESOLVED.
 */
export function translateSlowly(unit: usize, regime: usize, iova: u64, requested: u32, result: usize): u32 {
  const caches = <usize>load<u32>(unit, UNIT_CACHES);
  const configurationFirst = caches != 0 && load<u32>(caches, SIMULATOR_CONFIGURATION_FIRST) != 0;
  if (configurationFirst && !configurationUse(unit, regime)) return UNRESOLVED;
  const access = accessInForce(regime, requested);
  store<u64>(result, 0);
  answeredFrom = STALE_FROM_WALK;
  answeredOwner = load<u64>(regime, REGIME_OWNER);
  const refused = route(regime, iova, access);
  const refusedSpan = load<u64>(regime, REGIME_REFUSED_SPAN);
  const table = refused ? <usize>0 : routedTable;
  const tag = load<u64>(regime, REGIME_TAG);
  if (table && heldFind(unit, iova, tag)) {
    // The walk that sets the dirty flag fills the entry anew.
    if (access & <u32>ACCESS_WRITE && heldClean) heldDrop(unit);
    else {
      count(unit, UNIT_IOTLB_LOOKUPS, 1);
      count(unit, UNIT_IOTLB_HITS, 1);
      lastGrants = heldGrants;
      answeredFrom = STALE_FROM_IOTLB;
      answeredOwner = heldOwner;
      const outcome = missing(lastGrants, access);
      if (outcome) return deny(table, routedAddress, access, outcome, result);
      if (heldPhysical - <u64>INTERRUPT_FIRST < refusedSpan) return UNIT_INTERRUPT_RANGE;
      store<u64>(result, heldPhysical);
      return statusWord(WALK_OK, 0, 0, heldShift);
    }
  }
  if (!configurationFirst && !configurationUse(unit, regime)) return UNRESOLVED;
  if (refused) return refused;
  if (!table) {
    lastGrants = -1;
    store<u64>(result, iova);
    return statusWord(WALK_OK, 0, 0, 0);
  }
  count(unit, UNIT_IOTLB_LOOKUPS, 1);
  if (caches) walkThroughCaches(caches, regime + REGIME_WALK_TAGS, routedHalf);
  const status = walk(table, routedAddress, access, result);
  count(unit, UNIT_ENTRIES_READ, status >> <u32>WALK_READS_SHIFT);
  if (caches) {
    if (walkBelieved) answeredFrom = STALE_FROM_STRUCTURES;
    walkThroughCaches(0, 0, 0);
  }
  if (status & <u32>WALK_OUTCOME_MASK) return status;
  lastGrants = walkGrants;
  const physical = load<u64>(result);
  if (physical - <u64>INTERRUPT_FIRST < refusedSpan) return UNIT_INTERRUPT_RANGE;
  const owner = iotlbOwner(load<u64>(regime, REGIME_OWNER), walkGlobal);
  heldKeep(unit, iova, tag, owner, physical, (status >> <u32>WALK_SIZE_SHIFT) & 0x3f, lastGrants, walkClean);
  return status;
}
