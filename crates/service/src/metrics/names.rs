//! Every metric of this system, with its HELP text.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// Declares a constant for each name, and `describe`, which registers the HELP texts.
macro_rules! declare {
    ($($describe:ident $constant:ident = $name:literal, $help:literal;)+) => {
        $(pub const $constant: &str = $name;)+

        pub(super) fn describe() {
            $($describe!($name, $help);)+
        }
    };
}

declare! {
    // Every service.
    describe_gauge BUILD_INFO = "wxpay_build_info", "Service and version that run here.";
    describe_gauge INFLIGHT = "wxpay_inflight", "Requests or messages in progress.";

    // Broker.
    describe_gauge BROKER_CONNECTED = "wxpay_broker_connected",
        "1 while there is a connection to the broker.";
    describe_histogram PUBLISH_CONFIRM_SECONDS = "wxpay_publish_confirm_seconds",
        "Time from publishing a message to the broker's confirm.";
    describe_counter DISPOSITIONS = "wxpay_dispositions_total",
        "Deliveries by what was done with them: acknowledged, delayed or parked.";
    describe_counter ACK_STALE = "wxpay_ack_stale_total",
        "Acknowledgements that came after their channel had closed; the broker redelivers.";
    describe_counter REPLIES_DROPPED = "wxpay_replies_dropped_total",
        "Replies that could not be sent because too many were waiting.";
    describe_counter UNROUTED_REPLAYED = "wxpay_unrouted_replayed_total",
        "Messages that had reached no queue and were published again.";

    // Ingress.
    describe_gauge HTTP_CONNECTIONS_OPEN = "wxpay_http_connections_open", "Open connections.";
    describe_counter HTTP_CONNECTION_ERRORS = "wxpay_http_connection_errors_total",
        "Connections that were refused or ended without a whole request.";
    describe_counter HTTP_REQUESTS = "wxpay_http_requests_total",
        "Requests by status (499: the client left before the answer).";
    describe_histogram HTTP_REQUEST_SECONDS = "http_server_request_duration_seconds",
        "Time from a request's headers to its answer.";
    describe_counter SHED = "wxpay_shed_total", "Requests that were turned away or not confirmed.";
    describe_counter NOTIFICATIONS_RECEIVED = "wxpay_notifications_received_total",
        "Notifications by how they were answered.";

    // Worker: commands and notifications.
    describe_counter COMMANDS = "wxpay_commands_total", "Commands by type and result.";
    describe_counter NOTIFICATIONS = "wxpay_notifications_total", "Notifications by result.";
    describe_counter QUERIES_OVER_BUDGET = "wxpay_queries_over_budget_total",
        "On-demand order queries that were not made because their limit was reached.";
    describe_counter TRANSITIONS = "wxpay_transitions_total", "State changes of orders.";

    // Worker: calls to WeChat.
    describe_counter GATEWAY_REQUESTS = "wxpay_gateway_requests_total",
        "Calls to WeChat by API and outcome.";
    describe_histogram GATEWAY_REQUEST_SECONDS = "wxpay_gateway_request_duration_seconds",
        "Duration of calls to WeChat.";
    describe_counter GATEWAY_HOST_REQUESTS = "wxpay_gateway_host_requests_total",
        "Attempts to reach WeChat's primary and backup host, by outcome.";
    describe_counter GATEWAY_DEFERRED = "wxpay_gateway_deferred_total",
        "Calls to WeChat that were put off, by merchant and reason.";
    describe_gauge NOTIFICATIONS_LOST = "wxpay_notifications_lost",
        "1 while a merchant's notifications do not arrive, by what this worker has seen.";
    describe_gauge GATEWAY_BREAKER_STATE = "wxpay_gateway_breaker_state",
        "State of a merchant's circuit breaker.";
    describe_gauge GATEWAY_RATE = "wxpay_gateway_rate",
        "Calls per second that the worker makes for a merchant at most.";
    describe_gauge GATEWAY_CALLS_UNDER_WAY = "wxpay_gateway_calls_under_way",
        "A merchant's calls to WeChat in progress.";

    // Worker: events and the state of the store.
    describe_counter EVENTS_PUBLISHED = "wxpay_events_published_total",
        "Events that the broker has confirmed.";
    describe_gauge OUTBOX_PENDING = "wxpay_outbox_pending", "Events that wait to be published.";
    describe_gauge OUTBOX_OLDEST_SECONDS = "wxpay_outbox_oldest_seconds",
        "Age of the oldest event that waits to be published.";
    describe_gauge OUTBOX_WAITING = "wxpay_outbox_waiting",
        "Events that wait because their merchant's queue refuses or does not confirm them.";
    describe_gauge EXCEPTIONS_OPEN = "wxpay_exceptions_open", "Open exceptions by kind.";
    describe_gauge OLDEST_UNSETTLED_SECONDS = "wxpay_oldest_unsettled_seconds",
        "Age of the oldest order that is not settled, by state.";
    describe_gauge QUEUE_MESSAGES = "wxpay_queue_messages", "Messages in a queue.";
}
