//! Which command a delivery is, and who acts for it.

use broker::Delivery;
use uuid::Uuid;

/// Makes an id from a message that came without one; the same message gives the same id again.
const NAMELESS: Uuid = Uuid::from_u128(0x0d3b_9e64_52c1_4d0e_8f4e_27b1_5a9c_6e30);

/// The command's identity: its `message_id`, or what stands in for one.
pub(super) fn command_id(delivery: &Delivery) -> String {
    let given = delivery.message_id_text.as_deref().unwrap_or_default();
    if !given.is_empty() && given.bytes().all(|byte| byte.is_ascii_graphic()) {
        return given.to_owned();
    }
    Uuid::new_v5(&NAMELESS, &[given.as_bytes(), &delivery.body].concat()).to_string()
}

/// Who holds a call lease taken for this command: the same at every delivery of it, so that a
/// command that comes back knows the lease that its own earlier delivery left behind.
pub(super) fn lease_holder(delivery: &Delivery) -> Uuid {
    delivery.message_id.unwrap_or_else(|| Uuid::new_v5(&NAMELESS, command_id(delivery).as_bytes()))
}
