//! What `#[derive(Document)]` expands to: the fields of a type, for conditions and updates.

mod naming;

pub(crate) use self::naming::Form;
use self::naming::{OfField, OfStruct};
use crate::attribute::Problems;
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{
    Data, DeriveInput, Error, Fields, GenericArgument, Ident, PathArguments, PathSegment, Type,
    ext::IdentExt, spanned::Spanned,
};

/// A field of a struct, as it is in an item.
pub(crate) struct Field<'a> {
    pub(crate) syntax: &'a syn::Field,
    pub(crate) ident: &'a Ident,
    /// Its name, without `r#`.
    pub(crate) name: String,
    /// The name of its attribute.
    pub(crate) attribute: String,
    pub(crate) form: Form,
    /// Whether its attribute can be left out.
    pub(crate) left_out: bool,
}

/// Writes the `impl Document`, with the errors that say what is wrong with it.
pub(crate) fn derive(input: &DeriveInput) -> TokenStream {
    let mut problems = Problems::default();
    let fields = fields(input, "a document", &mut problems).unwrap_or_default();
    let errors = problems.into_error().map(|error| error.to_compile_error());
    let document = can_be_written(input).then(|| document(input, &fields, |_| false));
    quote!(#errors #document)
}

/// Returns false for a type for which no `impl` can be written, regardless of its attributes.
pub(crate) fn can_be_written(input: &DeriveInput) -> bool {
    input.generics.params.is_empty()
}

/// Reads the fields of a struct, if the type is one with named fields; `what` is what it is to be, for
/// errors.
pub(crate) fn fields<'a>(
    input: &'a DeriveInput,
    what: &str,
    problems: &mut Problems,
) -> Option<Vec<Field<'a>>> {
    if let Some(first) = input.generics.params.first() {
        problems.add(Error::new_spanned(
            first,
            format!("{what} cannot be generic: each of its attributes has one type"),
        ));
    }
    let Some(fields) = named(input) else {
        problems.add(Error::new(
            input.ident.span(),
            format!("{what} is a struct with named fields: they name its attributes"),
        ));
        return None;
    };
    let of_struct = OfStruct::read(&input.attrs);
    if let Some((key, span)) = &of_struct.reshaped {
        problems.add(Error::new(
            *span,
            format!(
                "{what} is written as a map of its named fields, which `{key}` changes: remove it, or make the type a field of another struct"
            ),
        ));
    }
    let fields = fields.filter_map(|syntax| {
        let ident = syntax.ident.as_ref()?;
        let of_field = OfField::read(&syntax.attrs);
        let names = of_struct.names(ident, &of_field);
        let is_attribute = matches!(of_field.form, Form::Plain | Form::Custom);
        if is_attribute && names.written != names.read {
            problems.add(Error::new(
                names.span,
                format!(
                    "`{}` is written as the attribute `{}` but read as `{}`: use one name, so that an item can be read as it was written",
                    ident.unraw(),
                    names.written,
                    names.read,
                ),
            ));
        }
        let default = of_struct.default || of_field.default;
        if of_field.form == Form::Plain && is(&syntax.ty, "Set") && !default {
            problems.add(Error::new(
                syntax.ty.span(),
                "a set needs `#[serde(default)]`: DynamoDB does not keep empty sets, so the attribute is missing when the item is read",
            ));
        }
        Some(Field {
            syntax,
            ident,
            name: ident.unraw().to_string(),
            attribute: names.written,
            form: of_field.form,
            left_out: of_field.optional,
        })
    });
    Some(fields.collect())
}

fn named(input: &DeriveInput) -> Option<impl Iterator<Item = &syn::Field>> {
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => Some(fields.named.iter()),
            Fields::Unnamed(_) | Fields::Unit => None,
        },
        Data::Enum(_) | Data::Union(_) => None,
    }
}

/// Writes the struct of the fields and the impl. Those for which `is_fixed` are changed by no update.
pub(crate) fn document(
    input: &DeriveInput,
    fields: &[Field<'_>],
    is_fixed: impl Fn(&Field<'_>) -> bool,
) -> TokenStream {
    let (name, vis) = (&input.ident, &input.vis);
    let struct_name = format_ident!("{name}Fields");
    let plain = || {
        let fields = fields.iter();
        fields.filter(|field| matches!(field.form, Form::Plain | Form::Unread))
    };
    let kind = |field: &Field<'_>| match is_fixed(field) {
        true => quote!(::surehand::tables::KeyField),
        false => quote!(::surehand::tables::Field),
    };
    let declared = plain().map(|field| {
        let (ident, vis, ty, kind) = (
            field.ident,
            &field.syntax.vis,
            &field.syntax.ty,
            kind(field),
        );
        let doc = format!("The attribute `{}`.", field.attribute);
        quote!(#[doc = #doc] #vis #ident: #kind<R, #ty>)
    });
    let made = plain().map(|field| {
        let (ident, attribute, kind) = (field.ident, &field.attribute, kind(field));
        quote!(#ident: #kind::new(at, #attribute))
    });
    // Without a field, something else must have the type that the fields are of.
    let empty = plain().next().is_none();
    let declared_marker = empty.then(|| quote!(__entity: ::std::marker::PhantomData<fn() -> R>));
    let made_marker = empty.then(|| quote!(__entity: ::std::marker::PhantomData));
    let at = match empty {
        true => quote!(_),
        false => quote!(at),
    };
    let doc = format!("The fields of [`{name}`], for conditions and updates.");
    quote! {
        #[doc = #doc]
        // Few programs name all fields, and the struct's names are judged where they are written.
        #[allow(dead_code, non_snake_case)]
        #vis struct #struct_name<R> {
            #(#declared,)*
            #declared_marker
        }
        #[automatically_derived]
        impl ::surehand::tables::Document for #name {
            type Fields<R> = #struct_name<R>;

            fn fields<R>(
                #at: ::std::option::Option<&::std::sync::Arc<::surehand::tables::Path>>,
            ) -> #struct_name<R> {
                #struct_name {
                    #(#made,)*
                    #made_marker
                }
            }
        }
    }
}

/// Returns whether a type has this name, whatever path is written before it.
pub(crate) fn is(ty: &Type, name: &str) -> bool {
    last_segment(ty).is_some_and(|segment| segment.ident == name)
}

/// Returns the `T` of an `Option<T>`.
pub(crate) fn optional(ty: &Type) -> Option<&Type> {
    let segment = last_segment(ty).filter(|segment| segment.ident == "Option")?;
    match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => match arguments.args.first()? {
            GenericArgument::Type(inner) => Some(inner),
            _ => None,
        },
        _ => None,
    }
}

fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        // A type that another macro passed on.
        Type::Group(group) => last_segment(&group.elem),
        Type::Paren(paren) => last_segment(&paren.elem),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    #[track_caller]
    fn refused(input: &DeriveInput, problem: &str) {
        let output = derive(input).to_string();
        assert!(output.contains(problem), "{problem}: {output}");
        assert_eq!(output.matches("compile_error").count(), 1, "{output}");
    }

    fn written(input: &DeriveInput) -> String {
        let output = derive(input).to_string();
        assert!(!output.contains("compile_error"), "{output}");
        output.replace(' ', "")
    }

    #[test]
    fn each_attribute_is_a_field_with_its_name_and_visibility() {
        let output = written(&parse_quote! {
            #[serde(rename_all = "camelCase")]
            pub(crate) struct Address { pub first_line: String, r#type: Kind }
        });
        for part in [
            "pub(crate)structAddressFields<R>{",
            r#"#[doc="Theattribute`firstLine`."]pubfirst_line:::surehand::tables::Field<R,String>,"#,
            "]r#type:::surehand::tables::Field<R,Kind>,",
            "typeFields<R>=AddressFields<R>;",
            r#"first_line:::surehand::tables::Field::new(at,"firstLine")"#,
            r#"r#type:::surehand::tables::Field::new(at,"type")"#,
        ] {
            assert!(output.contains(part), "{part}: {output}");
        }
    }

    #[test]
    fn a_field_that_is_written_otherwise_than_its_type_has_none() {
        let output = written(&parse_quote! {
            struct Address {
                #[serde(skip)] cached: u8,
                #[serde(flatten)] rest: Rest,
                #[serde(with = "unix")] since: Time,
            }
        });
        for name in ["cached:", "rest:", "since:"] {
            assert!(!output.contains(name), "{name}: {output}");
        }
        assert!(
            output.contains("__entity:::std::marker::PhantomData"),
            "{output}"
        );
    }

    #[test]
    fn only_a_struct_with_named_fields_and_no_parameters_is_a_document() {
        let named = "a document is a struct with named fields";
        refused(
            &parse_quote!(
                enum A {
                    B { c: u8 },
                }
            ),
            named,
        );
        refused(
            &parse_quote!(
                struct A(u8);
            ),
            named,
        );
        refused(
            &parse_quote!(
                struct A;
            ),
            named,
        );
        refused(&parse_quote!(union A { b: u8 }), named);
        refused(
            &parse_quote!(
                struct A<T> {
                    b: T,
                }
            ),
            "a document cannot be generic",
        );
        refused(
            &parse_quote!(
                #[serde(transparent)]
                struct A {
                    b: u8,
                }
            ),
            "`transparent` changes",
        );
        refused(
            &parse_quote!(
                #[serde(rename_all = "camelCase", from = "B")]
                struct A {
                    b: u8,
                }
            ),
            "`from` changes",
        );
    }

    #[test]
    fn an_attribute_has_one_name() {
        refused(
            &parse_quote!(
                struct A {
                    #[serde(rename(serialize = "c"))]
                    b: u8,
                }
            ),
            "`b` is written as the attribute `c` but read as `b`",
        );
        written(&parse_quote!(
            struct A {
                #[serde(rename(serialize = "c", deserialize = "c"))]
                b: u8,
            }
        ));
        written(&parse_quote!(
            struct A {
                #[serde(skip, rename(serialize = "c"))]
                b: u8,
            }
        ));
    }

    #[test]
    fn a_set_can_be_missing() {
        let refused = |input: DeriveInput| refused(&input, "a set needs `#[serde(default)]`");
        refused(parse_quote!(
            struct A {
                tags: Set<String>,
            }
        ));
        refused(parse_quote!(
            struct A {
                tags: surehand::tables::Set<String>,
            }
        ));
        written(&parse_quote!(
            struct A {
                #[serde(default)]
                tags: Set<String>,
            }
        ));
        written(&parse_quote!(
            #[serde(default)]
            struct A {
                tags: Set<String>,
            }
        ));
        written(&parse_quote!(
            struct A {
                tags: HashSet<String>,
                #[serde(with = "f")]
                other: Set<u8>,
            }
        ));
    }
}
