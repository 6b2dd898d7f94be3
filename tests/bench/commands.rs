//! A shop that publishes its orders on AMQP, as many as the broker takes.

use anyhow::{Result, ensure};
use broker::{Exchange, exchange_name, topology};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};
use uuid::Uuid;

use crate::system::System;

/// Publishes that wait for their confirms.
const WINDOW: usize = 1_024;
const PERSISTENT: u8 = 2;

/// Publishes the orders and returns when all are confirmed.
pub(crate) async fn publish(
    system: &System,
    orders: impl IntoIterator<Item = String>,
) -> Result<()> {
    let amqp_url = &system.environment.amqp_text;
    let connection = Connection::connect(amqp_url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let exchange = exchange_name(&system.environment.namespace, Exchange::Commands);
    let mut unconfirmed = FuturesUnordered::new();
    for order in orders {
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(PERSISTENT)
            .with_message_id(Uuid::now_v7().to_string().into());
        let published = channel.basic_publish(
            exchange.as_str().into(),
            topology::ORDER_CREATE.into(),
            BasicPublishOptions::default(),
            order.as_bytes(),
            properties,
        );
        unconfirmed.push(published.await?);
        if unconfirmed.len() >= WINDOW {
            check(unconfirmed.next().await)?;
        }
    }
    while !unconfirmed.is_empty() {
        check(unconfirmed.next().await)?;
    }
    Ok(connection.close(200, "OK".into()).await?)
}

fn check(confirmed: Option<lapin::Result<Confirmation>>) -> Result<()> {
    let is_ack = matches!(confirmed.transpose()?, Some(Confirmation::Ack(None)));
    ensure!(is_ack, "the broker has not taken an order");
    Ok(())
}
