/** Kinds of access, as a regime sees those that requests ask for. */
import {
  ACCESS_EXECUTE,
  ACCESS_READ,
  ACCESS_WRITE,
  REGIME_ACCESS_CLEAR,
  REGIME_ACCESS_SET,
  REGIME_FLAGS,
  REGIME_ONE_KIND,
} from "../layout";

/** What a regime makes of the kind of access that a request asks for. */
// @ts-ignore: decorator
@inline
export function accessInForce(regime: usize, requested: u32): u32 {
  const access = (requested & ~load<u32>(regime, REGIME_ACCESS_CLEAR)) | load<u32>(regime, REGIME_ACCESS_SET);
  if (!(load<u32>(regime, REGIME_FLAGS) & <u32>REGIME_ONE_KIND)) return access;
  if (access & <u32>ACCESS_WRITE) return access & ~(<u32>ACCESS_EXECUTE);
  return access & <u32>ACCESS_EXECUTE ? access & ~(<u32>ACCESS_READ) : access;
}
