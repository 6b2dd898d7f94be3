-- Payments that a query found, the newest first: several of them within minutes say that a merchant's
-- notifications do not arrive. Payments that a notification told of are not in it.
create index order_transitions_found_by_query on order_transitions (at)
    where source = 'query' and to_state = 'paid';
