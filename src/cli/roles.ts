// What a node's role is called on a screen and in JSON.

import { Role } from "../gen/service_pb.js";

export function roleName(role: Role): string {
  switch (role) {
    case Role.LEADER:
      return "leader";
    case Role.FOLLOWER:
      return "follower";
    case Role.CANDIDATE:
      return "candidate";
    case Role.PRE_CANDIDATE:
      return "pre-candidate";
    case Role.LEARNER:
      return "learner";
    case Role.UNSPECIFIED:
      return "unknown";
  }
}
