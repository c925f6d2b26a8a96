"""Rights requests. Everything takes a connection in a transaction, the installation's `Keys` and the present time.

    keys = Keys(settings.data_key, settings.hash_key)                            personvern.privacy.keys

fields       validate_email(text) -> Email(address, shown, suggestion)           raises InvalidField(fault)
             clean_name(text), clean_details(text) -> str                        raises InvalidField
drafts       create(connection, keys, conversation_id, language, now) -> RequestDraft
             load(connection, keys, draft_id), find(connection, keys, conversation_id) -> RequestDraft | None
             save(connection, keys, draft, now) -> RequestDraft, masked; KeyError where it is gone
             delete_of(connection, conversation_id) -> bool; purge(connection, now) -> int
verification extract_code(typed) -> six digits or None
             send_code, check_code, is_awaited: for what `store` does not do itself
store        can_receive(company) -> bool
             open_unconfirmed(connection, keys, *, company, draft, channel, network=None, now) -> Unconfirmed
             send_code_again(connection, keys, *, company, group_id, network=None, now)
                 -> CodeSent | TooManyCodes | None
             awaited_group(connection, conversation_id, now) -> group_id | None
             confirm_email(connection, keys, *, company, group_id, code, now) -> Confirmation; commit it always
             open_unverified_simple(connection, keys, *, company, draft, channel, now) -> tuple[Request, ...]
             cancel_unconfirmed(connection, group_id) -> int
             withdraw(connection, keys, *, company, request_id, who="visitor", now) -> Request
             find_open_same(connection, keys, *, company, right, marketing=False, email) -> Request | None
             request_of, request_by_reference, requests_of_group, requests_by_email, person_of, mark_read
             raises NoReceiver, IncompleteDraft
life         MOVES; move(...), note(...), log_of(connection, request_id), verify_log(connection, keys) -> faults
deadline     deadline(received, extended=False) -> Deadline(received, plain, due, reasons); reasons_in_words
kinds        RIGHTS, kind_of(right, marketing=False) -> Kind
reference    find_reference(text) -> "PV-7KQ2-M9XD" | None
retention    purge_unconfirmed, purge_closed(connection, keys, now, keeping) -> int; purge_all(database, ...)
rotation     rotate(database, keys): everything under the first keys
"""
