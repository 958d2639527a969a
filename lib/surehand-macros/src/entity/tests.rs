use super::derive;
use syn::{DeriveInput, parse_quote};

/// Expects the one problem of a type.
#[track_caller]
fn refused(input: DeriveInput, problem: &str) {
    let output = derive(&input).to_string();
    assert!(output.contains(problem), "{problem}: {output}");
    assert_eq!(output.matches("compile_error").count(), 1, "{output}");
}

/// Returns what is written of a type, without spaces.
#[track_caller]
fn written(input: DeriveInput) -> String {
    let output = derive(&input).to_string();
    assert!(!output.contains("compile_error"), "{output}");
    output
        .replace(' ', "")
        .replace("::surehand::tables::", "")
        .replace("::std::option::Option::", "")
}

#[track_caller]
fn has(output: &str, parts: &[&str]) {
    for part in parts {
        let part = part.replace(' ', "");
        assert!(output.contains(&part), "{part}: {output}");
    }
}

/// A type whose only attribute besides the table is this.
macro_rules! with {
    ($($attribute:tt)*) => {
        parse_quote! {
            #[entity(table = "SHOP_TABLE", $($attribute)*)]
            struct Entry {
                order_id: String,
                position: u32,
                status: String,
                coupon: Option<String>,
            }
        }
    };
}

fn entry() -> DeriveInput {
    parse_quote! {
        #[entity(
            table = "SHOP_TABLE",
            key(pk = "CUSTOMER#{customer_id}", sk = "{{ENTRY}}#{order_id}"),
            index(by_status, name = "by-status", key(status, placed_at)),
        )]
        #[serde(rename_all = "camelCase")]
        pub(crate) struct Entry {
            pub customer_id: String,
            pub order_id: String,
            pub status: String,
            pub placed_at: u64,
            address: Address,
            #[serde(skip)]
            cached: Cached,
            #[serde(flatten)]
            rest: Rest,
            #[entity(version)]
            #[serde(rename = "v")]
            pub version: u64,
        }
    }
}

#[test]
fn an_entity_has_its_names_its_keys_and_its_attributes() {
    has(
        &written(entry()),
        &[
            r#"const NAME: &'static str = "Entry";"#,
            r#"const TABLE: &'static str = "SHOP_TABLE";"#,
            r#"const KEY: KeySchema = KeySchema {
                partition: KeyAttribute { name: "pk", kind: KeyKind::Text, prefix: "CUSTOMER#", is_whole: false },
                sort: Some(KeyAttribute { name: "sk", kind: KeyKind::Text, prefix: "{ENTRY}#", is_whole: false })
            };"#
                .replace('\n', "")
                .as_str(),
            r#"&[IndexSchema { name: "by-status", key: KeySchema {
                partition: KeyAttribute { name: "status", kind: <String as KeyValue>::KIND, prefix: "", is_whole: false },
                sort: Some(KeyAttribute { name: "placedAt", kind: <u64 as KeyValue>::KIND, prefix: "", is_whole: false })
            } }];"#
                .replace('\n', "")
                .as_str(),
            r#"&["customerId", "orderId", "status", "placedAt", "address", "v"];"#,
            r#"= Some("v");"#,
        ],
    );
}

#[test]
fn a_key_is_made_of_an_items_fields_and_of_parameters() {
    let output = written(entry());
    let made = |access: &str| {
        format!(
            r##"Key::new(
                KeyPart::composed("pk", &[Piece::Literal("CUSTOMER#"),
                    Piece::Field("customer_id", ::std::format!("{{}}", {access}customer_id))]),
                Some(KeyPart::composed("sk", &[Piece::Literal("{{ENTRY}}#"),
                    Piece::Field("order_id", ::std::format!("{{}}", {access}order_id))]))
            ).with("customerId", &{access}customer_id).with("orderId", &{access}order_id)"##
        )
        .replace('\n', "")
    };
    has(
        &output,
        &[
            "fn to_key(&self) -> Key<Self> {",
            &made("self."),
            "pub(crate) fn key(
                customer_id: impl ::std::convert::Into<String>,
                order_id: impl ::std::convert::Into<String>
            ) -> Key<Self> {
                let customer_id: String = ::std::convert::Into::into(customer_id);
                let order_id: String = ::std::convert::Into::into(order_id);"
                .replace('\n', "")
                .as_str(),
            &made(""),
            "Returns the key of the item with this `customer_id` and `order_id`.",
        ],
    );
}

#[test]
fn a_partition_is_made_of_the_fields_of_its_key_alone() {
    has(
        &written(entry()),
        &[
            "fn partition(customer_id: impl ::std::convert::Into<String>)
                -> Partition<Self, ::std::string::String>"
                .replace('\n', "")
                .as_str(),
            "fn by_status(status: impl ::std::convert::Into<String>) -> Partition<Self, u64>",
            r#"Partition::of_index(&<Self as Entity>::INDEXES[0usize], KeyPart::field("status", &status),)"#,
        ],
    );
    let alone = written(with!(key(order_id), index(by_status, key(status))));
    assert!(!alone.contains("fnpartition"), "{alone}");
    has(
        &alone,
        &[
            "-> Partition<Self, ()>",
            r#"name: "by_status""#,
            "sort: None",
        ],
    );
}

/// So that an update that creates the item puts it into the index.
#[test]
fn a_key_has_what_an_index_composes_of_its_fields() {
    let output = written(with!(
        key(pk = "ORDER#{order_id}"),
        index(all, key(gsi = "ORDERS", at = "{order_id}")),
        index(
            by_it,
            key(it = "{order_id}#{status}", pk = "ORDER#{order_id}")
        ),
    ));
    has(
        &output,
        &[r#").with("order_id", &order_id)
            .with_composed(KeyPart::composed("gsi", &[Piece::Literal("ORDERS")]))
            .with_composed(KeyPart::composed("at",
                &[Piece::Field("order_id", ::std::format!("{}", order_id))]))}"#
            .replace('\n', "")
            .as_str()],
    );
}

#[test]
fn a_number_is_taken_as_it_is_so_that_a_literal_is_one() {
    let output = written(with!(key(order_id, position)));
    has(
        &output,
        &["order_id: impl ::std::convert::Into<String>, position: u32) -> Key<Self>"],
    );
}

#[test]
fn a_field_that_is_named_twice_is_one_parameter() {
    let output = written(with!(key(
        pk = "{order_id}#{order_id}",
        sk = "{position}#{order_id}"
    )));
    has(
        &output,
        &[
            "fn key(order_id: impl ::std::convert::Into<String>, position: u32)",
            "fn partition(order_id: impl ::std::convert::Into<String>)",
        ],
    );
}

#[test]
fn a_key_without_fields_takes_none() {
    let output = written(with!(key(pk = "SHOP", sk = "SETTINGS")));
    has(
        &output,
        &[
            "fn key() -> Key<Self>",
            "fn partition() -> Partition<Self, ::std::string::String>",
        ],
    );
}

#[test]
fn what_an_update_would_contradict_is_fixed() {
    let output = written(entry());
    for fixed in [
        "customer_id: KeyField<R, String>",
        "order_id: KeyField<R, String>",
        "version: KeyField<R, u64>",
    ] {
        has(&output, &[fixed]);
    }
    has(
        &output,
        &[
            "status: Field<R, String>",
            "placed_at: Field<R, u64>",
            "address: Field<R, Address>",
            r#"order_id: KeyField::new(at, "orderId")"#,
        ],
    );
    let composed = written(with!(
        key(order_id),
        index(by_status, key(gsi = "STATUS#{status}"))
    ));
    has(
        &composed,
        &["status: KeyField<R, String>", "position: Field<R, u32>"],
    );
}

#[test]
fn an_item_without_a_field_of_an_index_is_left_out_of_it() {
    let output = written(with!(
        key(pk = "ORDER#{order_id}"),
        index(
            by_coupon,
            key(gsi = "COUPON#{coupon}#{status}", pk = "ORDER#{order_id}")
        ),
    ));
    has(
        &output,
        &[
            "let parts: [::std::option::Option<KeyPart>; 2usize]",
            r##"match (&self.coupon,) {
                (Some(coupon),) => Some(KeyPart::composed("gsi", &[Piece::Literal("COUPON#"),
                    Piece::Field("coupon", ::std::format!("{}", coupon)),
                    Piece::Literal("#"),
                    Piece::Field("status", ::std::format!("{}", self.status))])),
                _ => None, }"##
                .replace('\n', "")
                .as_str(),
            "fn by_coupon(coupon: impl ::std::convert::Into<String>, status:",
        ],
    );
    let by_itself = written(with!(key(order_id), index(by_coupon, key(coupon))));
    has(
        &by_itself,
        &[
            "kind: <String as KeyValue>::KIND",
            "fn by_coupon(coupon: impl ::std::convert::Into<String>)",
        ],
    );
}

#[test]
fn a_composed_attribute_can_have_any_name() {
    let output = written(with!(key("gsi1-pk" = "{order_id}", type = "A")));
    has(&output, &[r#"name: "gsi1-pk""#, r#"name: "type""#]);
}

#[test]
fn a_raw_identifier_is_named_without_its_prefix() {
    let output = written(parse_quote! {
        #[entity(table = "T", key(type, sk = "{match}"))]
        struct r#Entry { r#type: String, r#match: u8 }
    });
    has(
        &output,
        &[
            r#"name: "type""#,
            "fn key(r#type: impl",
            "r#match: u8)",
            r#".with("match", &r#match)"#,
        ],
    );
}

#[test]
fn all_problems_of_a_type_are_reported_together_and_the_impls_are_written() {
    let output = derive(&parse_quote! {
        #[serde(untagged)]
        struct Entry {
            #[entity(version)]
            #[serde(rename(serialize = "v"))]
            version: i64,
            #[entity(version)]
            count: u64,
            tags: Set<String>,
        }
    })
    .to_string();
    for problem in [
        "needs a `table`",
        "needs a `key`",
        "`untagged` changes",
        "`version` is written as the attribute `v` but read as `version`",
        "`version` is already the version",
        "make it a `u64` or `u32`",
        "a set needs `#[serde(default)]`",
    ] {
        assert!(output.contains(problem), "{problem}: {output}");
    }
    for part in [
        "Entity for Entry",
        "Document for Entry",
        "struct EntryFields",
    ] {
        assert!(output.contains(part), "{part}: {output}");
    }
}

#[test]
fn an_attribute_that_does_not_parse_hides_no_other_mistake_behind_it() {
    refused(
        parse_quote!(
            #[entity(tabel = "SHOP_TABLE")]
            struct Entry {}
        ),
        "unknown key: use `table`, `key` or `index`",
    );
    refused(
        parse_quote!(
            #[entity(table = "T", version)]
            struct Entry {}
        ),
        "`version` belongs on the field",
    );
    refused(
        parse_quote!(
            #[entity(table = "T", key(a))]
            struct Entry {
                #[entity(key)]
                a: u8,
            }
        ),
        "use `version`, or move it",
    );
}

#[test]
fn an_entity_is_a_struct_with_named_fields() {
    let named = "an entity is a struct with named fields";
    refused(
        parse_quote!(
            #[entity(table = "T", key(a))]
            enum Entry {
                A {
                    #[entity(version)]
                    a: u8,
                },
            }
        ),
        named,
    );
    refused(
        parse_quote!(
            #[entity(table = "T", key(a))]
            struct Entry(u8);
        ),
        named,
    );
    refused(
        parse_quote!(
            #[entity(table = "T", key(a))]
            struct Entry;
        ),
        named,
    );
    refused(
        parse_quote!(#[entity(table = "T", key(a))] union Entry { a: u8 }),
        named,
    );
    let generic = parse_quote!(
        #[entity(table = "T", key(a))]
        struct Entry<T> {
            a: T,
        }
    );
    refused(generic, "an entity cannot be generic");
}

#[test]
fn a_table_is_named_by_a_variable() {
    let table = |name: &str| -> DeriveInput {
        parse_quote!(
            #[entity(table = #name, key(a))]
            struct Entry {
                a: u8,
            }
        )
    };
    for wrong in ["shop", "SHOP-TABLE", "1SHOP", "Shop"] {
        refused(table(wrong), "the name of an environment variable");
    }
    refused(table(" "), "must not be empty");
    for right in ["SHOP_TABLE", "_T1", "T"] {
        written(table(right));
    }
}

#[test]
fn a_key_has_one_or_two_attributes() {
    refused(
        with!(index(by_status, key(status))),
        "the entity needs a `key`",
    );
    refused(with!(key()), "the key is empty");
    refused(
        with!(key(order_id, position, status)),
        "a key has at most two attributes",
    );
    refused(
        with!(key(order_id), key(position)),
        "this key is already set",
    );
    refused(
        with!(key(order_id, order_id)),
        "is both the partition key and the sort key",
    );
    refused(
        with!(key(pk = "")),
        "an attribute of a key must not be empty",
    );
}

#[test]
fn a_key_is_of_the_structs_fields() {
    let names = "the struct has `order_id`, `position`, `status`, `coupon`";
    refused(
        with!(key(orderid)),
        &format!("no field `orderid`: {names}; to compose an attribute"),
    );
    refused(
        with!(key(pk = "A#{orderid}")),
        &format!("no field `orderid`: {names}"),
    );
    refused(with!(key(pk = "A#{order_id")), "`{` without `}`");
    refused(with!(key(order_id), index(by_it, key(it))), "no field `it`");
    refused(
        with!(key(status = "A#{order_id}")),
        "`status` is already the attribute of the field `status`",
    );
}

#[test]
fn two_items_cannot_have_one_key() {
    refused(
        with!(key(pk = "A#{order_id}{position}")),
        "nothing separates `{order_id}` from `{position}`",
    );
}

#[test]
fn every_item_has_all_of_its_key() {
    refused(
        with!(key(coupon)),
        "`coupon` is an `Option`, so it cannot be part of the table's key",
    );
    refused(with!(key(pk = "A#{coupon}")), "`coupon` is an `Option`");
    for (attribute, problem) in [
        (quote::quote!(skip), "is not written to the item"),
        (
            quote::quote!(skip_serializing),
            "is not written to the item",
        ),
        (quote::quote!(skip_deserializing), "is not read"),
        (quote::quote!(flatten), "is written as several attributes"),
        (quote::quote!(with = "hex"), "is not written as its type"),
        (quote::quote!(skip_serializing_if = "f"), "can be left out"),
    ] {
        let of = |key: proc_macro2::TokenStream| -> DeriveInput {
            parse_quote! {
                #[entity(table = "T", #key)]
                struct Entry { #[serde(#attribute)] a: String, b: String }
            }
        };
        refused(of(quote::quote!(key(a))), problem);
        refused(of(quote::quote!(key(pk = "A#{a}"))), problem);
        if problem != "can be left out" {
            refused(of(quote::quote!(key(b), index(by_a, key(a)))), problem);
        }
    }
}

#[test]
fn an_attribute_is_composed_in_one_way() {
    refused(
        with!(
            key(pk = "A#{order_id}"),
            index(by_it, key(status, pk = "B#{order_id}"))
        ),
        "`pk` is composed of another text before",
    );
    written(with!(
        key(pk = "A#{order_id}"),
        index(by_it, key(status, pk = "A#{order_id}"))
    ));
}

#[test]
fn an_index_has_a_function_a_name_and_a_key() {
    let index = |index: proc_macro2::TokenStream| with!(key(order_id), #index);
    let refused = |it, problem: &str| refused(index(it), problem);
    refused(
        quote::quote!(index(key(status))),
        "needs the name of a function",
    );
    refused(quote::quote!(index(by_status)), "the index needs a `key`");
    refused(
        quote::quote!(index(by_status, name = "a-b", sort, key(status))),
        "this key is already set",
    );
    refused(
        quote::quote!(index(by_status, nmae = "a-b", key(status))),
        "unknown key: use the name of a function",
    );
    refused(
        quote::quote!(index(by_status, name = "a b", key(status))),
        "`a b` cannot be the name of an index",
    );
    refused(
        quote::quote!(index(by, key(status))),
        "`by` cannot be the name of an index",
    );
    for taken in ["key", "partition", "to_key"] {
        let function = quote::format_ident!("{taken}");
        refused(
            quote::quote!(index(#function, key(status))),
            &format!("every entity has a function `{taken}`"),
        );
    }
    refused(
        quote::quote!(index(type, key(status))),
        "`type` is a keyword",
    );
}

#[test]
fn each_index_has_its_own_name() {
    refused(
        with!(
            key(order_id),
            index(by_a, name = "abc", key(status)),
            index(by_b, name = "abc", key(position))
        ),
        "another index has the name `abc`",
    );
    refused(
        with!(
            key(order_id),
            index(by_a, key(status)),
            index(by_a, name = "abc", key(position))
        ),
        "another index has the function `by_a`",
    );
}

#[test]
fn a_version_counts_changes() {
    let of = |field: syn::FieldsNamed| -> DeriveInput {
        parse_quote!(#[entity(table = "T", key(a))] struct Entry #field)
    };
    let counts = "make it a `u64` or `u32`";
    refused(
        of(parse_quote!({ a: u8, #[entity(version)] b: i64 })),
        counts,
    );
    refused(
        of(parse_quote!({ a: u8, #[entity(version)] b: Option<u64> })),
        counts,
    );
    refused(
        of(parse_quote!({ a: u8, #[entity(version)] #[serde(skip)] b: u64 })),
        "remove the serde attributes",
    );
    refused(
        of(parse_quote!({ a: u8, #[entity(version)] b: u64, #[entity(version)] c: u64 })),
        "already",
    );
    refused(
        of(parse_quote!({ #[entity(version)] a: u64 })),
        "`a` is the version, which changes with each write",
    );
    written(of(parse_quote!({ a: u8, #[entity(version)] b: u32 })));
}
