//! The functions for keys and partitions that an entity has.

use super::{
    key::{Key, Part, value_type},
    schema::Schema,
};
use crate::document::{Field, is};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Ident, Type, Visibility};

/// Writes `key`, `partition`, and a function per index.
pub(crate) fn functions(schema: &Schema<'_>) -> TokenStream {
    let (ident, vis) = (&schema.input.ident, &schema.input.vis);
    let key = schema.key.as_ref().map(|key| {
        let of_item = Function {
            name: Ident::new("key", key.span),
            returns: "the key of the item".to_owned(),
            fields: key.fields(),
            ty: quote!(::surehand::tables::Key<Self>),
            value: write_key(schema, key, local),
        };
        of_item.write(vis)
    });
    let partition = schema.key.as_ref().and_then(|key| {
        key.sort.as_ref()?;
        let name = Ident::new("partition", key.span);
        let made = |part| quote!(::surehand::tables::Partition::new(#part));
        Some(Function::partition(name, "the table", key, made).write(vis))
    });
    let indexes = schema.indexes.iter().enumerate().map(|(at, (index, key))| {
        let of = format!("the index `{}`", index.name);
        let made = |part| {
            quote! {
                ::surehand::tables::Partition::of_index(
                    &<Self as ::surehand::tables::Entity>::INDEXES[#at],
                    #part,
                )
            }
        };
        Function::partition(index.function.clone(), &of, key, made).write(vis)
    });
    quote! {
        // Few programs use all of them, and the fields' names are judged where they are written.
        #[allow(dead_code, non_snake_case)]
        #[automatically_derived]
        impl #ident {
            #key
            #partition
            #(#indexes)*
        }
    }
}

/// A function of fields' values.
struct Function<'a> {
    name: Ident,
    /// What its documentation says that it returns.
    returns: String,
    fields: Vec<&'a Field<'a>>,
    ty: TokenStream,
    value: TokenStream,
}

impl<'a> Function<'a> {
    fn partition(
        name: Ident,
        of: &str,
        key: &Key<'a>,
        made: impl FnOnce(TokenStream) -> TokenStream,
    ) -> Self {
        let sort = key.sort.as_ref();
        let sort = sort.map_or_else(|| quote!(()), Part::sort_type);
        Self {
            name,
            returns: format!("the partition of {of}"),
            fields: key.partition.fields(),
            ty: quote!(::surehand::tables::Partition<Self, #sort>),
            value: made(key.partition.value(local)),
        }
    }

    fn write(&self, vis: &Visibility) -> TokenStream {
        let Self {
            name, ty, value, ..
        } = self;
        let doc = match self.fields.as_slice() {
            [] => format!("Returns {}, of which there is one.", self.returns),
            fields => format!("Returns {} with this {}.", self.returns, list(fields)),
        };
        let (parameters, values) = parameters(&self.fields);
        quote! {
            #[doc = #doc]
            #vis fn #name(#parameters) -> #ty {
                #values
                #value
            }
        }
    }
}

/// Writes the `Key`, of the fields' values as `access` writes them, with what else an item has because of
/// it: the fields, and the attributes of indexes that are composed of nothing else.
pub(crate) fn write_key(
    schema: &Schema<'_>,
    key: &Key<'_>,
    access: impl Fn(&Field<'_>) -> TokenStream,
) -> TokenStream {
    let partition = key.partition.value(&access);
    let sort = match &key.sort {
        Some(sort) => {
            let sort = sort.value(&access);
            quote!(::std::option::Option::Some(#sort))
        }
        None => quote!(::std::option::Option::None),
    };
    let fields = key.fields();
    let own = |field: &Field<'_>| fields.iter().any(|it| it.ident == field.ident);
    let implied = schema.composed().into_iter().filter(|composed| {
        let in_key = key.parts().filter_map(Part::composed);
        composed.fields.iter().all(|field| own(field))
            && !in_key.into_iter().any(|it| it.name == composed.name)
    });
    let implied = implied.map(|composed| {
        let value = composed.value(&access);
        quote!(.with_composed(#value))
    });
    let fields = fields.iter().map(|field| {
        let (attribute, value) = (&field.attribute, access(field));
        quote!(.with(#attribute, &#value))
    });
    quote!(::surehand::tables::Key::new(#partition, #sort)#(#fields)*#(#implied)*)
}

/// Writes the parameters of a function for these fields, and the statements that make their values of them.
fn parameters(fields: &[&Field<'_>]) -> (TokenStream, TokenStream) {
    // A literal such as `7` becomes the number that is asked for, but not what can be turned into it.
    let by_itself = |ty: &Type| {
        const PRIMITIVE: [&str; 14] = [
            "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize",
            "bool", "char",
        ];
        PRIMITIVE.into_iter().any(|name| is(ty, name))
    };
    let parameters = fields.iter().map(|field| {
        let (ident, ty) = (field.ident, value_type(field));
        match by_itself(ty) {
            true => quote!(#ident: #ty),
            false => quote!(#ident: impl ::std::convert::Into<#ty>),
        }
    });
    let values = fields.iter().map(|field| {
        let (ident, ty) = (field.ident, value_type(field));
        (!by_itself(ty)).then(|| quote!(let #ident: #ty = ::std::convert::Into::into(#ident);))
    });
    (quote!(#(#parameters),*), quote!(#(#values)*))
}

fn local(field: &Field<'_>) -> TokenStream {
    let ident = field.ident;
    quote!(#ident)
}

/// Lists fields in a sentence.
fn list(fields: &[&Field<'_>]) -> String {
    let names: Vec<_> = fields
        .iter()
        .map(|field| format!("`{}`", field.name))
        .collect();
    match names.as_slice() {
        [all @ .., last] if !all.is_empty() => format!("{} and {last}", all.join(", ")),
        names => names.concat(),
    }
}
