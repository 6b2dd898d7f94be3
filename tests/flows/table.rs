//! The table of design 5, cell by cell: the whole system is driven to where a fact meets a state,
//! and everything that can be seen of it is looked at.

mod close_requested;
mod closed;
mod create_refused;
mod paid;
mod paid_differing;
mod prepay_issued;
mod table_case;
