// A membership as the services show it.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Membership as MembershipMessage, MembershipSchema } from "../gen/service_pb.js";
import { isJoint, isVoter, type Membership, memberIds } from "../node/membership.js";

/** Members in id order; one whose address nobody ever named has the address "". */
export function membershipMessage(membership: Membership): MembershipMessage {
  const members = memberIds(membership).map((id) => ({
    id,
    address: membership.addresses.get(id) ?? "",
    learner: !isVoter(membership, id),
  }));
  const message: MessageInitShape<typeof MembershipSchema> = {
    members,
    index: membership.index,
    joint: isJoint(membership),
  };
  return create(MembershipSchema, message);
}
