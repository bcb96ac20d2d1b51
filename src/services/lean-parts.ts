// What a call's context offers beside connect-es's own parts, if it came by the lean path. Signals and header objects
// made for every call are a large part of what a small call costs.

import type { LeanCallParts } from "../node/ports.js";

/** Undefined: it offers no more than connect-es does. */
export function leanPartsOf(context: object): LeanCallParts | undefined {
  return isLean(context) ? context : undefined;
}

function isLean(context: object): context is LeanCallParts {
  return "ending" in context && "hasRequestHeader" in context;
}
