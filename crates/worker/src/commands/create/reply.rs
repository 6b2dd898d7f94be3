use broker::Delivery;
use orders::{Failure, Order, OrderView, Problem, Reply, StateName};

use crate::commands::context::CommandContext;
use crate::merchants::Merchant;
use crate::{clock, pay};

pub(super) fn reply_order(
    context: &CommandContext,
    delivery: &Delivery,
    merchant: &Merchant,
    order: &Order,
    mut view: OrderView,
) {
    // Signed again for every reply: the settlement signed for the event, and the signature
    // carries the time at which it was made.
    if let Some(prepay_id) = &view.prepay_id {
        view.pay = pay::sign(order, prepay_id, merchant, clock::now());
    }
    let reply = match &view.failure {
        Some(Failure { err_code, err_code_des }) => {
            Reply::problem(Problem::refused(err_code, err_code_des))
        }
        None if view.state == StateName::Created => Reply::order(202, view),
        None => Reply::order(200, view),
    };
    context.reply(delivery, &reply);
}
