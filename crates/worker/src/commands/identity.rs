use broker::Delivery;
use uuid::Uuid;

/// Namespace of the ids of messages that came without one: the same message gets the same id again.
const WITHOUT_ID: Uuid = Uuid::from_u128(0x0d3b_9e64_52c1_4d0e_8f4e_27b1_5a9c_6e30);

/// The command's `message_id`, or an id made from its body.
pub(super) fn command_id(delivery: &Delivery) -> String {
    let given = delivery.message_id_text.as_deref().unwrap_or_default();
    if !given.is_empty() && given.bytes().all(|byte| byte.is_ascii_graphic()) {
        return given.to_owned();
    }
    Uuid::new_v5(&WITHOUT_ID, &[given.as_bytes(), &delivery.body].concat()).to_string()
}

/// The holder of a call lease that is taken for this command. It is the same at every delivery, so
/// that a redelivered command recognises the lease of its own earlier delivery.
pub(super) fn lease_holder(delivery: &Delivery) -> Uuid {
    let from_text = || Uuid::new_v5(&WITHOUT_ID, command_id(delivery).as_bytes());
    delivery.message_id.unwrap_or_else(from_text)
}
