//! What `#[derive(Event)]` expands to.

mod attribute;

use self::attribute::{Attributes, Upcaster};
use crate::{attribute::Problems, template::Template};
use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{Attribute, Data, DeriveInput, Error, Fields, LitStr, spanned::Spanned};

/// Writes the `impl Event`, with the errors that say what is wrong with it.
pub(crate) fn derive(input: &DeriveInput) -> TokenStream {
    let mut problems = Problems::default();
    let attributes = Attributes::read(&input.attrs, &mut problems);
    if problems.is_empty() {
        check_presence(input, &attributes, &mut problems);
    }
    check_shape(input, &mut problems);
    let items = items(input, &attributes, &mut problems);

    let errors = problems.into_error().map(|error| error.to_compile_error());
    if !can_be_event(input) {
        return quote!(#errors);
    }
    let name = &input.ident;
    // The impl is written despite errors: otherwise each use of the event would be another error.
    quote! {
        #errors
        #[automatically_derived]
        impl ::surehand::Event for #name {
            #items
        }
    }
}

/// Returns false for a type for which no `impl` can be written, regardless of its attributes.
fn can_be_event(input: &DeriveInput) -> bool {
    input.generics.params.is_empty() && !matches!(input.data, Data::Union(_))
}

fn check_presence(input: &DeriveInput, attributes: &Attributes, problems: &mut Problems) {
    let required = [
        ("source", &attributes.source, "shop.orders"),
        ("detail_type", &attributes.detail_type, "OrderPlaced"),
    ];
    for (key, value, example) in required {
        if value.is_none() {
            problems.add(Error::new(
                input.ident.span(),
                format!("the event needs a `{key}`, as in `#[event({key} = \"{example}\")]`"),
            ));
        }
    }
}

fn check_shape(input: &DeriveInput, problems: &mut Problems) {
    let mut misplaced = |attributes: &[Attribute]| {
        for attribute in attributes.iter().filter(|a| a.path().is_ident("event")) {
            problems.add(Error::new_spanned(
                attribute,
                "`#[event(…)]` belongs on the type",
            ));
        }
    };
    match &input.data {
        Data::Struct(data) => data.fields.iter().for_each(|f| misplaced(&f.attrs)),
        Data::Enum(data) => data.variants.iter().for_each(|variant| {
            misplaced(&variant.attrs);
            variant.fields.iter().for_each(|f| misplaced(&f.attrs));
        }),
        Data::Union(data) => problems.add(Error::new(
            data.union_token.span(),
            "a union cannot be an event: make it a struct or an enum",
        )),
    }
    if let Some(first) = input.generics.params.first() {
        problems.add(Error::new_spanned(
            first,
            "an event cannot be generic: its `detail_type` names one shape of data",
        ));
    }
}

/// Writes the constants and methods of the impl.
fn items(input: &DeriveInput, attributes: &Attributes, problems: &mut Problems) -> TokenStream {
    let text = |value: &Option<LitStr>| value.as_ref().map_or(quote!(""), |text| quote!(#text));
    let source = text(&attributes.source);
    let detail_type = text(&attributes.detail_type);
    let version = attributes.version.as_ref().map(|version| {
        let number = version.number;
        quote!(const VERSION: u32 = #number;)
    });
    let upcast = attributes.upcasters.as_deref().map(upcast);
    let subject = filled("subject", attributes.subject.as_ref(), input, problems);
    let partition_key = attributes.partition_key.as_ref();
    let partition_key = filled("partition_key", partition_key, input, problems);
    quote! {
        const SOURCE: &'static str = #source;
        const DETAIL_TYPE: &'static str = #detail_type;
        #version
        #upcast
        #subject
        #partition_key
    }
}

fn upcast(upcasters: &[Upcaster]) -> TokenStream {
    let steps = upcasters.iter().map(|Upcaster { from, function }| {
        let from = from.number;
        // A function of another type is reported at its name.
        let step = quote_spanned! {function.span()=>
            let step: fn(::surehand::__private::Value)
                -> ::surehand::Result<::surehand::__private::Value> = #function;
        };
        quote!(#from => { #step step(data) })
    });
    quote! {
        fn upcast(
            from: u32,
            data: ::surehand::__private::Value,
        ) -> ::surehand::Result<::surehand::__private::Value> {
            match from {
                #(#steps)*
                _ => ::std::result::Result::Err(::surehand::__private::no_upcaster::<Self>(from)),
            }
        }
    }
}

/// Writes the method that fills a text with the struct's fields.
fn filled(
    key: &str,
    template: Option<&Template>,
    input: &DeriveInput,
    problems: &mut Problems,
) -> Option<TokenStream> {
    let template = template?;
    let text = match &input.data {
        Data::Struct(data) => template.fill(&data.fields),
        // A union is already refused.
        _ => template.fill(&Fields::Unit).map_err(|error| {
            Error::new(
                error.span(),
                format!("an enum has no fields for `{key}`: make it a struct"),
            )
        }),
    };
    let text = problems.take(text)?;
    let name = format_ident!("{key}");
    Some(quote! {
        fn #name(&self) -> ::std::option::Option<::std::string::String> {
            ::std::option::Option::Some(#text)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_of_a_type_are_reported_together() {
        let output = derive(&syn::parse_quote! {
            #[event(subject = "a/{b}")]
            struct Placed<T> {
                #[event]
                order: T,
            }
        })
        .to_string();
        for problem in [
            "needs a `source`",
            "needs a `detail_type`",
            "cannot be generic",
            "belongs on the type",
            "no field `b`: the struct has `order`",
        ] {
            assert!(output.contains(problem), "{problem}: {output}");
        }
    }

    #[test]
    fn an_attribute_that_does_not_parse_hides_no_other_mistake_behind_it() {
        let output = derive(&syn::parse_quote! {
            #[event(sauce = "shop")]
            struct Placed {}
        })
        .to_string();
        assert_eq!(output.matches("compile_error").count(), 1, "{output}");
        assert!(output.contains("unknown key"), "{output}");
    }
}
