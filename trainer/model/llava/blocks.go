package llava

import (
	"fmt"

	"ressa/trainer/model/layer"
)

// visionBlock returns block i of the CLIP encoder.
func visionBlock(b *builder, v VisionConfig, i int) *layer.Block {
	at, k := fmt.Sprintf("encoder.layers.%d.", i), &layer.Block{}
	k.Norm1.Gamma, k.Norm1.Beta = b.norm(at+"layer_norm1", v.Hidden, true)
	k.Attention = layer.Attention{
		Q:     b.linear(at+"self_attn.q_proj", v.Hidden, v.Hidden, true),
		K:     b.linear(at+"self_attn.k_proj", v.Hidden, v.Hidden, true),
		V:     b.linear(at+"self_attn.v_proj", v.Hidden, v.Hidden, true),
		Out:   b.linear(at+"self_attn.out_proj", v.Hidden, v.Hidden, true),
		Heads: v.Heads, KVHeads: v.Heads, HeadDim: v.Hidden / v.Heads,
	}
	k.Norm2.Gamma, k.Norm2.Beta = b.norm(at+"layer_norm2", v.Hidden, true)
	k.MLP = layer.MLP{
		Up:         b.linear(at+"mlp.fc1", v.Inner, v.Hidden, true),
		Down:       b.linear(at+"mlp.fc2", v.Hidden, v.Inner, true),
		Activation: v.Activation,
	}
	k.Norm1.Eps, k.Norm2.Eps = v.Epsilon, v.Epsilon
	return k
}

// languageBlock returns layer i of the LLaMA decoder.
func languageBlock(b *builder, c LanguageConfig, i int, rotary *layer.Rotary) *layer.Block {
	at, k := fmt.Sprintf("layers.%d.", i), &layer.Block{}
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	k.Norm1.Gamma, _ = b.norm(at+"input_layernorm", c.Hidden, false)
	k.Attention = layer.Attention{
		Q:     b.linear(at+"self_attn.q_proj", q, c.Hidden, false),
		K:     b.linear(at+"self_attn.k_proj", kv, c.Hidden, false),
		V:     b.linear(at+"self_attn.v_proj", kv, c.Hidden, false),
		Out:   b.linear(at+"self_attn.o_proj", c.Hidden, q, false),
		Heads: c.Heads, KVHeads: c.KVHeads, HeadDim: c.HeadDim,
		Causal: true, Rotary: rotary,
	}
	k.Norm2.Gamma, _ = b.norm(at+"post_attention_layernorm", c.Hidden, false)
	k.MLP = layer.MLP{
		Gate:       b.linear(at+"mlp.gate_proj", c.Inner, c.Hidden, false),
		Up:         b.linear(at+"mlp.up_proj", c.Inner, c.Hidden, false),
		Down:       b.linear(at+"mlp.down_proj", c.Hidden, c.Inner, false),
		Activation: c.Activation,
	}
	k.Norm1.Eps, k.Norm2.Eps = c.Epsilon, c.Epsilon
	return k
}
